"""Finds manifests by digest: in memory, in this node's store, or at a peer."""

import structlog
from cachetools import LRUCache

from heliograph_registry.mirror.domain.manifest import Manifest, verified
from heliograph_registry.mirror.domain.peer import Resolution
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import LOCAL, FromPeer, Source
from heliograph_registry.mirror.domain.target import ManifestByDigest
from heliograph_registry.mirror.errors import NotServed
from heliograph_registry.mirror.local_content import LocalContent
from heliograph_registry.mirror.lookahead import Lookahead
from heliograph_registry.mirror.peering import Peering
from heliograph_shared.digest import Digest
from heliograph_shared.image import MAX_MANIFEST_BYTES, NotAManifest

log = structlog.get_logger()

_CACHED_BYTES = 16 << 20


class Manifests:
    """Each is verified in full, once: the latest 16 MiB stay in memory."""

    def __init__(self, content: LocalContent, peering: Peering, lookahead: Lookahead) -> None:
        self._content, self._peering, self._lookahead = content, peering, lookahead
        self._cached: LRUCache[Digest, tuple[Manifest, Source]] = LRUCache(
            _CACHED_BYTES, getsizeof=lambda known: len(known[0].body)
        )

    def own(self, digest: Digest) -> tuple[Manifest, Source] | None:
        """A cached manifest of this node; one that came from a peer may be in the store by now."""
        known = self._cached.get(digest)
        return known if known is not None and known[1] == LOCAL else None

    async def get(
        self, target: ManifestByDigest, resolution: Resolution | None = None, *, from_peer: bool = False
    ) -> tuple[Manifest, Source]:
        """The manifest and its source. `resolution` is that of its digest, if known. Raises `NotServed`."""
        if (known := self.own(target.digest)) is not None:
            return known
        found = await self._local(target.digest)
        if found is None:
            if from_peer:
                self._content.refused_to_peer(target.digest)
                raise NotServed(Reason.NOT_LOCAL)
            found = self._cached.get(target.digest) or await self._remote(target, resolution)
        self._cached[target.digest] = found
        return found

    async def _local(self, digest: Digest) -> tuple[Manifest, Source] | None:
        blob = await self._content.open(digest)
        if blob is None:
            return None
        try:
            if blob.size_bytes > MAX_MANIFEST_BYTES:
                raise NotServed(Reason.NOT_A_MANIFEST)
            return verified(digest, await blob.read(0, blob.size_bytes)), LOCAL
        except OSError as error:
            self._content.unreadable(digest, str(error), error.errno or 0)
            return None
        except NotAManifest as error:
            log.warning("local manifest is not served", digest=digest, reason=str(error))
            return None
        finally:
            blob.close()

    async def _remote(
        self, target: ManifestByDigest, resolution: Resolution | None
    ) -> tuple[Manifest, Source]:
        if resolution is None:
            resolution = await self._lookahead.resolution(target.digest)
        manifest, node = await self._peering.manifest(target, resolution)
        return manifest, FromPeer(node)
