"""What the bus was told, against what the store holds: bus contract v1 as a state machine.

The published state moves only when deltas are taken, so a snapshot is always one that some sequence
number names. Between two takes only the keys that were touched are remembered: a blob that came and went
leaves no trace, and a long outage of the bus costs no more memory than the store has entries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from heliograph_indexer.domain.content import (
    BlobAdded,
    BlobRemoved,
    Content,
    Holdings,
    StoreEvent,
    TagRemoved,
    TagSet,
)
from heliograph_indexer.domain.packing import EVENT_BYTES, pack
from heliograph_shared.digest import Digest
from heliograph_shared.inventory import Inventory, RunningInventory


@dataclass(frozen=True, slots=True)
class Position:
    """A point in what a node has published; `inventory` describes the state at `sequence`."""

    incarnation: int
    sequence: int
    inventory: Inventory


@dataclass(frozen=True, slots=True)
class Delta:
    """One message's worth of changes, and where it leads."""

    position: Position
    events: tuple[StoreEvent, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that was published up to `position`, in at least one chunk of one message each.

    `addresses` are those at which the node's registry is reached at the same moment.
    """

    position: Position
    addresses: tuple[str, ...]
    chunks: tuple[tuple[StoreEvent, ...], ...]


@dataclass(frozen=True, slots=True)
class Advertised:
    """How much the bus was told of; `images` are the manifests that tags point at."""

    images: int
    tags: int
    digests: int
    addresses: int


class Publication:
    def __init__(self, incarnation: int, room_bytes: int = EVENT_BYTES) -> None:
        self._incarnation, self._sequence = incarnation, 0
        self._room_bytes = room_bytes
        self._live, self._published = Holdings(), Holdings()
        self._inventory = RunningInventory()
        self._touched_blobs: set[Digest] = set()
        self._touched_tags: set[str] = set()

    @property
    def position(self) -> Position:
        return Position(self._incarnation, self._sequence, self._inventory.freeze())

    @property
    def live(self) -> Content:
        """What the store holds, as a view that follows it."""
        return Content(self._live.blobs, self._live.tags)

    def apply(self, event: StoreEvent) -> None:
        """Take notice of a change in the store."""
        self._live.apply(event)
        match event:
            case BlobAdded(digest=digest) | BlobRemoved(digest=digest):
                self._touched_blobs.add(digest)
            case TagSet(reference=reference) | TagRemoved(reference=reference):
                self._touched_tags.add(reference)
            case _:
                assert_never(event)

    def replace(self, content: Content) -> None:
        """Take notice of all that the store holds."""
        for event in list(self._live.events_towards(content)):
            self.apply(event)

    def take(self) -> list[Delta]:
        """Publish what is pending: the deltas to send, in this order."""
        parts = list(pack(self._pending(), self._room_bytes))
        self._touched_blobs.clear()
        self._touched_tags.clear()
        return [self._publish(part) for part in parts]

    def freeze(self, addresses: tuple[str, ...] = ()) -> Snapshot:
        everything = Holdings().events_towards(Content(self._published.blobs, self._published.tags))
        return Snapshot(self.position, addresses, tuple(pack(everything, self._room_bytes)) or ((),))

    def advertised(self, addresses: int) -> Advertised:
        """What there is to say of a node that is reached at so many addresses."""
        tags, blobs = self._published.tags, self._published.blobs
        return Advertised(len({tag.digest for tag in tags.values()}), len(tags), len(blobs), addresses)

    def outbid(self, incarnation: int) -> None:
        """Begin a new incarnation above one that routers remember of this node, with nothing published."""
        self._incarnation, self._sequence = incarnation + 1, 0
        self._published, self._inventory = Holdings(), RunningInventory()
        self._touched_blobs = set(self._live.blobs)
        self._touched_tags = set(self._live.tags)

    def _pending(self) -> Iterator[StoreEvent]:
        for digest in self._touched_blobs:
            if event := self._published.blob_event(digest, self._live.blobs.get(digest)):
                yield event
        for reference in self._touched_tags:
            if event := self._published.tag_event(reference, self._live.tags.get(reference)):
                yield event

    def _publish(self, events: tuple[StoreEvent, ...]) -> Delta:
        for event in events:
            self._take_inventory(event)
            self._published.apply(event)
        self._sequence += 1
        return Delta(self.position, events)

    def _take_inventory(self, event: StoreEvent) -> None:
        match event:
            case BlobAdded(digest=digest):
                if digest not in self._published.blobs:
                    self._inventory.add_digest(digest)
            case BlobRemoved(digest=digest):
                self._inventory.remove_digest(digest)
            case TagSet(reference=reference, digest=digest):
                self._drop_tag(reference)
                self._inventory.add_tag(reference, digest)
            case TagRemoved(reference=reference):
                self._drop_tag(reference)
            case _:
                assert_never(event)

    def _drop_tag(self, reference: str) -> None:
        if tag := self._published.tags.get(reference):
            self._inventory.remove_tag(reference, tag.digest)
