"""Builds this node's messages in the models of bus contract v1."""

from collections.abc import Iterable, Sequence
from typing import Any, assert_never

from heliograph_indexer.domain.content import BlobAdded, BlobRemoved, StoreEvent, TagRemoved, TagSet
from heliograph_indexer.domain.publication import Delta, Position, PublishedSnapshot
from heliograph_shared.digest import Digest
from heliograph_shared.events import ContentChanged, NodeHeartbeat, NodeLeft, NodeSnapshot, Tagged

_MAX_DOWNLOADING = 1000


class BusMessages:
    """For one node; `zone` is empty if the cluster has none."""

    def __init__(self, node: str, zone: str) -> None:
        self._node, self._zone = node, zone

    def changed(self, delta: Delta) -> ContentChanged:
        return ContentChanged(**self._at(delta.position), **_fields(delta.events))

    def alive(
        self, position: Position, addresses: Sequence[str], downloading: Sequence[Digest]
    ) -> NodeHeartbeat:
        return NodeHeartbeat(
            **self._at(position),
            addresses=list(addresses),
            zone=self._zone,
            downloading=list(downloading[:_MAX_DOWNLOADING]),
        )

    def left(self, position: Position) -> NodeLeft:
        return NodeLeft(node=self._node, incarnation=position.incarnation, sequence=position.sequence)

    def snapshot(self, snapshot: PublishedSnapshot) -> Iterable[NodeSnapshot]:
        """One message for each chunk, built on demand."""
        for number, chunk in enumerate(snapshot.chunks):
            fields = _fields(chunk)
            yield NodeSnapshot(
                **self._at(snapshot.position),
                chunk=number,
                chunks=len(snapshot.chunks),
                content=fields["added"],
                tags=fields["tagged"],
                addresses=list(snapshot.addresses),
                zone=self._zone,
            )

    def _at(self, position: Position) -> dict[str, Any]:
        return {
            "node": self._node,
            "incarnation": position.incarnation,
            "sequence": position.sequence,
            "inventory": position.inventory,
        }


def _fields(events: Iterable[StoreEvent]) -> dict[str, Any]:
    fields: dict[str, Any] = {"added": {}, "removed": [], "tagged": {}, "untagged": []}
    for event in events:
        match event:
            case BlobAdded(digest, size_bytes):
                fields["added"][digest] = size_bytes
            case BlobRemoved(digest):
                fields["removed"].append(digest)
            case TagSet(reference, digest, tagged_at_ms):
                fields["tagged"][reference] = Tagged(digest=digest, tagged_at_ms=tagged_at_ms)
            case TagRemoved(reference):
                fields["untagged"].append(reference)
            case _:
                assert_never(event)
    return fields
