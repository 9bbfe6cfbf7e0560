"""Answers a request: from this node's store, else from a peer, else `NotServed`.

One deadline covers all of these steps, so that containerd can ask its next host in time.
"""

from collections.abc import Iterable

import structlog
from cachetools import LRUCache

from heliograph_registry.mirror.blobs import BlobAnswer, Blobs
from heliograph_registry.mirror.deadline import Deadline
from heliograph_registry.mirror.domain.manifest import Manifest, verified
from heliograph_registry.mirror.domain.peer import Resolution
from heliograph_registry.mirror.domain.ranges import ByteRange
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import LOCAL, FromPeer, Source
from heliograph_registry.mirror.domain.target import Blob, ManifestByDigest, ManifestByTag, Name
from heliograph_registry.mirror.errors import NotServed
from heliograph_registry.mirror.local_content import LocalContent
from heliograph_registry.mirror.lookahead import Lookahead
from heliograph_registry.mirror.peering import Peering
from heliograph_registry.mirror.ports import NodeFacts
from heliograph_registry.mirror.waiting import WaitingRequests
from heliograph_shared.digest import Digest
from heliograph_shared.filters import ImageFilter
from heliograph_shared.image import MAX_MANIFEST_BYTES, NotAManifest

log = structlog.get_logger()

_CACHED_MANIFEST_BYTES = 16 << 20


class Mirror:
    def __init__(
        self,
        *,
        content: LocalContent,
        facts: NodeFacts,
        peering: Peering,
        blobs: Blobs,
        lookahead: Lookahead,
        waiting: WaitingRequests,
        images: ImageFilter,
        first_byte_s: float,
    ) -> None:
        """`first_byte_s`: time limit for the first byte."""
        self._content, self._facts, self._peering, self._blobs = content, facts, peering, blobs
        self._lookahead, self._images, self._first_byte_s = lookahead, images, first_byte_s
        self._waiting = waiting
        self._manifests: LRUCache[Digest, tuple[Manifest, Source]] = LRUCache(
            _CACHED_MANIFEST_BYTES, getsizeof=lambda known: len(known[0].body)
        )

    def stop_waiting(self) -> None:
        """Answer all waiting requests with `NotServed`, and let no other one wait: the process stops."""
        self._waiting.stop()

    def mark_verified(self, digests: Iterable[Digest]) -> None:
        """A client in this process got these blobs from the mirror a moment ago, and verified them."""
        for digest in digests:
            self._blobs.mark_verified(digest)

    async def blob(
        self, target: Blob, wanted: ByteRange | None, *, from_peer: bool, head: bool
    ) -> BlobAnswer:
        """Raises `NotServed`, `RangeNotSatisfiable` or `Busy`."""
        self._admit(target.name, None)
        if head:
            return await self._blobs.head(target, from_peer=from_peer)
        return await self._blobs.get(target, wanted, from_peer=from_peer)

    async def manifest(
        self, target: ManifestByTag | ManifestByDigest, *, from_peer: bool, head: bool
    ) -> tuple[Manifest, Source]:
        """The manifest, verified in full, and its source. Raises `NotServed`."""
        self._admit(target.name, target.tag if isinstance(target, ManifestByTag) else None)
        known = None if isinstance(target, ManifestByTag) else self._known(target.digest)
        if known is None:
            async with Deadline(self._first_byte_s):
                known = await self._find(target, from_peer=from_peer)
        if not (from_peer or head):
            self._lookahead.resolve_children(known[0])
        return known

    def _admit(self, name: Name, tag: str | None) -> None:
        if name.registry is not None and not self._images.admits(name.registry, name.repository, tag):
            raise NotServed(Reason.FILTERED)

    def _known(self, digest: Digest) -> tuple[Manifest, Source] | None:
        """A cached manifest of this node; one that came from a peer may be in the store by now."""
        known = self._manifests.get(digest)
        return known if known is not None and known[1] == LOCAL else None

    async def _find(
        self, target: ManifestByTag | ManifestByDigest, *, from_peer: bool
    ) -> tuple[Manifest, Source]:
        resolution = None
        if isinstance(target, ManifestByTag):
            digest, resolution = await self._tag(target, from_peer=from_peer)
            target = ManifestByDigest(target.name, digest)
            if (known := self._known(digest)) is not None:
                return known
        found = await self._local(target.digest)
        if found is None:
            if from_peer:
                self._content.refused_to_peer(target.digest)
                raise NotServed(Reason.NOT_LOCAL)
            found = self._manifests.get(target.digest) or await self._remote(target, resolution)
        self._manifests[target.digest] = found
        return found

    async def _tag(self, target: ManifestByTag, *, from_peer: bool) -> tuple[Digest, Resolution | None]:
        """The tag's digest: from the router, which knows the newest, else from this node's state file."""
        reference = target.tag_reference
        if reference is None:
            raise NotServed(Reason.NO_REGISTRY)
        own = self._facts.digest_of(reference)
        if from_peer:
            if own is None:
                raise NotServed(Reason.NOT_LOCAL)
            return own, None
        try:
            (resolution,) = await self._peering.resolve([reference])
        except NotServed:
            if own is None:
                raise
            return own, None
        if resolution.digest is not None:
            return resolution.digest, resolution
        if own is None:
            raise NotServed(resolution.miss_reason)
        return own, None

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
