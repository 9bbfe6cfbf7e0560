"""Translates messages of bus contract v1 into the router's own events."""

from collections.abc import Mapping, Sequence

from heliograph_router.domain.assembly import Chunk
from heliograph_router.domain.cluster import NeedSnapshot
from heliograph_router.domain.events import Alive, Changed, Left, ReceivedSnapshot, TagClaim
from heliograph_shared.address import Address, InvalidAddress
from heliograph_shared.events import (
    ContentChanged,
    NodeHeartbeat,
    NodeLeft,
    NodeSnapshot,
    SnapshotRequest,
    Tagged,
)

_MAX_ADDRESSES = 16


def changed(message: ContentChanged) -> Changed:
    return Changed(
        message.node,
        message.incarnation,
        message.sequence,
        message.added,
        message.removed,
        _tags(message.tagged) if message.tagged else {},
        message.untagged,
    )


def alive(message: NodeHeartbeat) -> Alive:
    return Alive(
        node=message.node,
        incarnation=message.incarnation,
        sequence=message.sequence,
        addresses=_addresses(message.addresses),
        zone=message.zone,
        inventory=message.inventory,
        downloading=message.downloading,
    )


def left(message: NodeLeft) -> Left:
    return Left(message.node, message.incarnation)


def chunk(message: NodeSnapshot) -> Chunk:
    part = ReceivedSnapshot(
        node=message.node,
        incarnation=message.incarnation,
        sequence=message.sequence,
        content=message.content,
        tags=_tags(message.tags),
        addresses=_addresses(message.addresses),
        zone=message.zone,
        inventory=message.inventory,
    )
    return Chunk(message.chunk, message.chunks, part)


def snapshot_request(need: NeedSnapshot) -> SnapshotRequest:
    if need.namesake is None:
        return SnapshotRequest(incarnation=need.incarnation)
    return SnapshotRequest(
        incarnation=need.incarnation,
        addresses=list(need.addresses),
        namesake=need.namesake.incarnation,
        namesake_addresses=list(need.namesake.addresses),
    )


def _tags(tagged: Mapping[str, Tagged]) -> dict[str, TagClaim]:
    return {reference: TagClaim(tag.digest, tag.tagged_at_ms) for reference, tag in tagged.items()}


def _addresses(texts: Sequence[str]) -> tuple[str, ...]:
    """The valid ones of the first 16: a registry would waste an attempt on what is no `host:port`."""
    return tuple(text for text in texts[:_MAX_ADDRESSES] if _is_dialable(text))


def _is_dialable(text: str) -> bool:
    try:
        address = Address.parse(text)
    except InvalidAddress:
        return False
    return bool(address.host and address.port)
