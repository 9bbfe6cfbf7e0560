"""Looks up why an image would be served, and by whom, without moving a blob."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from heliograph_registry.debug.domain.explanation import (
    Candidate,
    Case,
    Explanation,
    LookedUp,
    MirrorStatus,
    TagAnswer,
    explained,
)
from heliograph_registry.debug.domain.image import Kind, Part, chosen, content, kind_of, platforms
from heliograph_registry.debug.ports import RouterQueries
from heliograph_registry.mirror.domain.peer import Outcome, Resolution
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.target import ManifestByDigest, Name
from heliograph_registry.mirror.errors import NotServed, ResolverUnavailable
from heliograph_registry.mirror.mirror import Mirror
from heliograph_registry.mirror.peering import Peering
from heliograph_registry.mirror.ports import Content, NodeFacts
from heliograph_shared.digest import Digest
from heliograph_shared.filters import ImageFilter
from heliograph_shared.reference import Reference

_MOST_PARTS = 128
_MOST_HOLDERS = 16
_MOST_INDEXES = 4


class Why:
    def __init__(
        self,
        *,
        node: str,
        architecture: str,
        attempts: int,
        images: ImageFilter,
        content: Content,
        facts: NodeFacts,
        mirror: Mirror,
        peering: Peering,
        router_queries: RouterQueries,
        status: Callable[[], MirrorStatus],
    ) -> None:
        """`bearings` are as they are just now; whether a router answers is found out here."""
        self._node, self._architecture, self._attempts = node, architecture, attempts
        self._images, self._content, self._facts = images, content, facts
        self._mirror, self._peering, self._router_queries = mirror, peering, router_queries
        self._status = status

    async def explain(self, reference: Reference) -> Explanation:
        """Takes as long as a pull needs until its last manifest, and two questions to a router."""
        tag = await self._tag(reference)
        digest = reference.digest or (tag and (tag.routed or tag.own)) or None
        refused: Reason | None = None
        parts: list[Part] = []
        if digest is not None:
            refused, parts = await self._parts(reference, digest)
        looked_up = await self._look_up(parts)
        status = replace(self._status(), no_router=await self._no_router())
        return explained(
            Case(
                reference=str(reference),
                by_tag=self._images.exclusion(reference.registry, reference.repository, reference.tag),
                by_digest=self._images.exclusion(reference.registry, reference.repository),
                tag=tag,
                digest=digest,
                manifest=refused,
                parts=looked_up,
                status=status,
            )
        )

    async def _tag(self, reference: Reference) -> TagAnswer | None:
        """None for an image that is named by its digest."""
        key = reference.tag_reference
        if key is None or reference.digest is not None:
            return None
        own = self._facts.digest_of(key)
        try:
            (resolution,) = await self._peering.resolve([key])
        except NotServed:
            return TagAnswer(Outcome.NOT_SYNCED, None, own)
        return TagAnswer(resolution.outcome, resolution.digest, own)

    async def _parts(self, reference: Reference, digest: Digest) -> tuple[Reason | None, list[Part]]:
        """Manifests, config and layers, as far as they can be had, and why not further."""
        parts: list[Part] = []
        next_part: Part | None = Part(Kind.MANIFEST, digest, 0)
        while next_part is not None and len(parts) < _MOST_INDEXES:
            target = ManifestByDigest(Name(None, reference.repository), next_part.digest)
            try:
                manifest, _ = await self._mirror.manifest(target, from_peer=False, head=True)
            except NotServed as error:
                return error.reason, [*parts, next_part]
            kind = kind_of(manifest)
            parts.append(Part(kind, next_part.digest, len(manifest.body), next_part.platform))
            if kind is Kind.MANIFEST:
                return None, [*parts, *content(manifest)][:_MOST_PARTS]
            next_part = chosen(platforms(manifest), self._architecture)
        return Reason.NOT_A_MANIFEST, parts

    async def _look_up(self, parts: Sequence[Part]) -> tuple[LookedUp, ...]:
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
            LookedUp(
                part=part,
                here=not self._content.lacks(part.digest),
                holders=tuple(sorted(node for node in known if node != self._node)),
                order=self._order(resolution),
                known=resolution.outcome is not Outcome.NOT_SYNCED,
            )
            for part, resolution, known in zip(parts, resolutions, holders, strict=True)
        )

    def _order(self, resolution: Resolution) -> tuple[Candidate, ...]:
        last = self._peering.asked_last()
        return tuple(
            Candidate(peer.node, peer.addresses, last.get(peer.node, 0.0), number < self._attempts)
            for number, peer in enumerate(self._peering.order(resolution))
        )

    async def _no_router(self) -> str | None:
        try:
            await self._router_queries.answers()
        except ResolverUnavailable as error:
            return error.reason
        return None
