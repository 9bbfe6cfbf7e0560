"""Looks up where an image would be served from, and why, without transferring a layer."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from heliograph_registry.debug.domain.explanation import (
    Explanation,
    ImageLookup,
    MirrorStatus,
    PartLocation,
    PeerCandidate,
    TagLookup,
    explanation_of,
)
from heliograph_registry.debug.ports import RouterQueries
from heliograph_registry.mirror.domain.peer import Outcome, Resolution
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.target import ManifestByDigest, ManifestByTag, Name
from heliograph_registry.mirror.errors import NotServed, ResolverUnavailable
from heliograph_registry.mirror.mirror import Mirror
from heliograph_registry.mirror.peering import Peering
from heliograph_registry.mirror.ports import Content, NodeFacts
from heliograph_shared import image
from heliograph_shared.digest import Digest
from heliograph_shared.filters import ImageFilter
from heliograph_shared.image import ImagePart, Kind
from heliograph_shared.platforms import Matcher
from heliograph_shared.reference import Reference

_MOST_PARTS = 128
_MOST_HOLDERS = 16
_MOST_INDEXES = 4
_BY_ITS_PARTS = (Reason.INCOMPLETE, Reason.OTHER_PLATFORM)


class Why:
    def __init__(
        self,
        *,
        node: str,
        platform: Matcher,
        attempts: int,
        images: ImageFilter,
        content: Content,
        facts: NodeFacts,
        mirror: Mirror,
        peering: Peering,
        router_queries: RouterQueries,
        status: Callable[[], MirrorStatus],
    ) -> None:
        """`attempts` is how many peers a request tries; `status` gives the current state of the mirror.

        The `router_error` of that state is replaced: `explain` asks a router itself.
        """
        self._node, self._platform, self._attempts = node, platform, attempts
        self._images, self._content, self._facts = images, content, facts
        self._mirror, self._peering, self._router_queries = mirror, peering, router_queries
        self._status = status

    async def explain(self, reference: Reference) -> Explanation:
        """Takes as long as a pull takes to read its last manifest, plus some queries to a router."""
        tag = await self._tag(reference)
        digest = reference.digest or (tag and (tag.routed or tag.own)) or None
        manifest_error: Reason | None = None
        parts: list[ImagePart] = []
        if digest is not None:
            manifest_error, parts = await self._parts(reference, digest)
        refused = None if tag is None else await self._tag_refused(reference)
        locations = await self._locate(parts)
        status = replace(self._status(), router_error=await self._router_error())
        return explanation_of(
            ImageLookup(
                reference=str(reference),
                by_tag=self._images.exclusion(reference.registry, reference.repository, reference.tag),
                by_digest=self._images.exclusion(reference.registry, reference.repository),
                tag=tag,
                digest=digest,
                manifest_error=manifest_error,
                parts=locations,
                status=status,
                tag_refused=refused,
            )
        )

    async def _tag(self, reference: Reference) -> TagLookup | None:
        """None for an image that is named by its digest."""
        key = reference.tag_reference
        if key is None or reference.digest is not None:
            return None
        own = self._facts.digest_of(key)
        try:
            (resolution,) = await self._peering.resolve([key])
        except NotServed:
            return TagLookup(Outcome.NOT_SYNCED, None, own)
        return TagLookup(resolution.outcome, resolution.digest, own)

    async def _tag_refused(self, reference: Reference) -> Reason | None:
        """Why the tag of an image that nodes hold is not answered, if that is because of its other parts."""
        target = ManifestByTag(Name(reference.registry, reference.repository), reference.tag or "")
        try:
            await self._mirror.manifest(target, from_peer=False, head=True)
        except NotServed as error:
            return error.reason if error.reason in _BY_ITS_PARTS else None
        return None

    async def _parts(self, reference: Reference, digest: Digest) -> tuple[Reason | None, list[ImagePart]]:
        """Manifests, config and layers; if a manifest cannot be read, why, and the parts up to that one."""
        parts: list[ImagePart] = []
        next_part: ImagePart | None = ImagePart(Kind.MANIFEST, digest, 0)
        while next_part is not None and len(parts) < _MOST_INDEXES:
            target = ManifestByDigest(Name(None, reference.repository), next_part.digest)
            try:
                manifest, _ = await self._mirror.manifest(target, from_peer=False, head=True)
            except NotServed as error:
                return error.reason, [*parts, next_part]
            document = image.parse_document(manifest.body)
            kind = image.kind_of(document)
            parts.append(ImagePart(kind, next_part.digest, len(manifest.body), next_part.platform))
            if kind is Kind.MANIFEST:
                return None, [*parts, *image.content(document)][:_MOST_PARTS]
            next_part = image.chosen(image.platforms(document), self._platform)
        return Reason.NOT_A_MANIFEST, parts

    async def _locate(self, parts: Sequence[ImagePart]) -> tuple[PartLocation, ...]:
        digests = [part.digest for part in parts]
        if not digests:
            return ()
        try:
            resolutions = await self._peering.resolve(digests)
        except NotServed:
            resolutions = [Resolution(Outcome.NOT_SYNCED)] * len(digests)
        try:
            holders = await self._router_queries.holders(digests, _MOST_HOLDERS)
        except ResolverUnavailable:
            holders = [()] * len(digests)
        return tuple(
            PartLocation(
                part=part,
                here=not self._content.lacks(part.digest),
                holders=tuple(sorted(node for node in nodes if node != self._node)),
                candidates=self._candidates(resolution),
                known=resolution.outcome is not Outcome.NOT_SYNCED,
            )
            for part, resolution, nodes in zip(parts, resolutions, holders, strict=True)
        )

    def _candidates(self, resolution: Resolution) -> tuple[PeerCandidate, ...]:
        asked_last = self._peering.asked_last()
        return tuple(
            PeerCandidate(peer.node, peer.addresses, asked_last.get(peer.node, 0.0), number < self._attempts)
            for number, peer in enumerate(self._peering.order(resolution))
        )

    async def _router_error(self) -> str | None:
        """None when a router answers."""
        try:
            await self._router_queries.ping()
        except ResolverUnavailable as error:
            return error.reason
        return None
