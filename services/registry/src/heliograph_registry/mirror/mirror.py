"""Answers a request: from this node's store, else from a peer, else `NotServed`.

One deadline covers all of these steps, so that containerd can ask its next host in time.
"""

from collections.abc import Iterable

from cachetools import TTLCache

from heliograph_registry.mirror.blobs import BlobAnswer, Blobs
from heliograph_registry.mirror.completeness import Completeness
from heliograph_registry.mirror.deadline import Deadline
from heliograph_registry.mirror.domain.manifest import Manifest
from heliograph_registry.mirror.domain.peer import Resolution
from heliograph_registry.mirror.domain.ranges import ByteRange
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import Source
from heliograph_registry.mirror.domain.target import Blob, ManifestByDigest, ManifestByTag, Name
from heliograph_registry.mirror.errors import NotServed
from heliograph_registry.mirror.lookahead import Lookahead
from heliograph_registry.mirror.manifests import Manifests
from heliograph_registry.mirror.peering import Peering
from heliograph_registry.mirror.ports import NodeFacts
from heliograph_registry.mirror.waiting import WaitingRequests
from heliograph_shared.digest import Digest
from heliograph_shared.filters import ImageFilter

_MOST_BEGUN, _BEGUN_S = 4096, 60.0  # manifests that a client asks for next, after an index


class Mirror:
    def __init__(
        self,
        *,
        facts: NodeFacts,
        peering: Peering,
        blobs: Blobs,
        lookahead: Lookahead,
        manifests: Manifests,
        completeness: Completeness,
        waiting: WaitingRequests,
        images: ImageFilter,
        first_byte_s: float,
    ) -> None:
        """`first_byte_s`: time limit for the first byte."""
        self._facts, self._peering, self._blobs, self._manifests = facts, peering, blobs, manifests
        self._lookahead, self._images, self._first_byte_s = lookahead, images, first_byte_s
        self._completeness, self._waiting = completeness, waiting
        self._begun: TTLCache[Digest, None] = TTLCache(_MOST_BEGUN, _BEGUN_S)

    def stop_waiting(self) -> None:
        """Answer all waiting requests with `NotServed`, and let no other one wait: the process stops."""
        self._waiting.stop()

    def mark_verified(self, digests: Iterable[Digest]) -> None:
        """A client in this process got these blobs from the mirror a moment ago, and verified them."""
        for digest in digests:
            self._blobs.mark_verified(digest)

    async def blob(
        self, target: Blob, wanted: ByteRange | None, *, from_peer: bool, head: bool, client: str = ""
    ) -> BlobAnswer:
        """`client` tells clients apart. Raises `NotServed`, `RangeNotSatisfiable` or `Busy`."""
        self._admit(target.name, None)
        if head:
            return await self._blobs.head(target, from_peer=from_peer)
        return await self._blobs.get(target, wanted, from_peer=from_peer, client=client)

    async def manifest(
        self, target: ManifestByTag | ManifestByDigest, *, from_peer: bool, head: bool
    ) -> tuple[Manifest, Source]:
        """The manifest, verified in full, and its source. Raises `NotServed`."""
        self._admit(target.name, target.tag if isinstance(target, ManifestByTag) else None)
        begins = not from_peer and self._begins_image(target)
        if begins and target.name.in_path and self._blobs.full:
            raise NotServed(Reason.BUSY)
        found = None if begins or isinstance(target, ManifestByTag) else self._manifests.own(target.digest)
        if found is None:
            async with Deadline(self._first_byte_s if begins else self._blobs.limit_s(target.name)):
                found = await self._find(target, from_peer=from_peer)
                if begins:
                    await self._require_complete(found[0], target)
        if not (from_peer or head):
            self._lookahead.resolve_children(found[0])
        return found

    def _begins_image(self, target: ManifestByTag | ManifestByDigest) -> bool:
        """Whether the client relies on this mirror for the rest of the image if this is answered."""
        return isinstance(target, ManifestByTag) or (target.name.in_path and target.digest not in self._begun)

    async def _require_complete(self, manifest: Manifest, target: ManifestByTag | ManifestByDigest) -> None:
        """Raises `NotServed`."""
        by_digest = isinstance(target, ManifestByDigest)  # then that very image is wanted
        below = await self._completeness.require(manifest, target.name, any_platform=by_digest)
        if target.name.in_path:
            self._begun.update(dict.fromkeys(below))

    def _admit(self, name: Name, tag: str | None) -> None:
        if name.registry is not None and not self._images.admits(name.registry, name.repository, tag):
            raise NotServed(Reason.FILTERED)

    async def _find(
        self, target: ManifestByTag | ManifestByDigest, *, from_peer: bool
    ) -> tuple[Manifest, Source]:
        if isinstance(target, ManifestByDigest):
            return await self._manifests.get(target, from_peer=from_peer)
        digest, resolution = await self._tag(target, from_peer=from_peer)
        return await self._manifests.get(
            ManifestByDigest(target.name, digest), resolution, from_peer=from_peer
        )

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
