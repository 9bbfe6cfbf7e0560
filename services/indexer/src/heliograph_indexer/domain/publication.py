"""Compares what was published with what the store holds: the sender's state machine of bus contract v1. Pure.

The published state changes only when deltas are taken, so every snapshot belongs to exactly one sequence
number. Between two takes only the keys of changes are kept: a blob that was added and removed again is never
published, and a long outage of the bus takes no more memory than the store has entries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from heliograph_indexer.domain.content import (
    BlobAdded,
    BlobRemoved,
    Holdings,
    StoreContent,
    StoreEvent,
    TagRemoved,
    TagSet,
)
from heliograph_indexer.domain.packing import EVENT_BYTES, pack
from heliograph_shared.digest import Digest
from heliograph_shared.inventory import Inventory, RunningInventory


@dataclass(frozen=True, slots=True)
class Position:
    """A point in a node's publications; `inventory` summarizes the state at `sequence`."""

    incarnation: int
    sequence: int
    inventory: Inventory


@dataclass(frozen=True, slots=True)
class Delta:
    """The changes of one message, and the position after them."""

    position: Position
    events: tuple[StoreEvent, ...]


@dataclass(frozen=True, slots=True)
class PublishedSnapshot:
    """Everything published up to `position`, in one or more chunks; each chunk is one message.

    `addresses` are the advertised addresses of the node's registry at that moment.
    """

    position: Position
    addresses: tuple[str, ...]
    chunks: tuple[tuple[StoreEvent, ...], ...]


@dataclass(frozen=True, slots=True)
class AdvertisedCounts:
    """Counts of what was published; `images` are the digests that tags point at.

    `withheld` are blobs that are not published though the store lists them.
    """

    images: int
    tags: int
    digests: int
    addresses: int
    withheld: int


class Publication:
    def __init__(self, incarnation: int, limit_bytes: int = EVENT_BYTES) -> None:
        self._incarnation, self._sequence = incarnation, 0
        self._limit_bytes = limit_bytes
        self._live, self._published = Holdings(), Holdings()
        self._inventory = RunningInventory()
        self._touched_blobs: set[Digest] = set()
        self._touched_tags: set[str] = set()
        self._withheld: frozenset[Digest] = frozenset()

    @property
    def position(self) -> Position:
        return Position(self._incarnation, self._sequence, self._inventory.freeze())

    @property
    def live(self) -> StoreContent:
        """What the store holds: a view that changes with it."""
        return StoreContent(self._live.blobs, self._live.tags)

    def apply(self, event: StoreEvent) -> None:
        """Note a change in the store. A tag that is set to the same digest again keeps its time."""
        if isinstance(event, TagSet) and self._points_at(event.reference) == event.digest:
            return
        self._live.apply(event)
        match event:
            case BlobAdded(digest=digest) | BlobRemoved(digest=digest):
                self._touched_blobs.add(digest)
            case TagSet(reference=reference) | TagRemoved(reference=reference):
                self._touched_tags.add(reference)
            case _:
                assert_never(event)

    def withhold(self, digests: frozenset[Digest]) -> int:
        """Publish none of these, until the next call. Returns how many of them the store holds."""
        self._touched_blobs |= digests ^ self._withheld
        self._withheld = digests
        return self._count_withheld()

    def replace(self, content: StoreContent) -> None:
        """Note everything that the store holds now."""
        for event in list(self._live.events_to_reach(content)):
            self.apply(event)

    def take_deltas(self) -> list[Delta]:
        """Mark what is pending as published: the deltas to send, in this order."""
        batches = list(pack(self._pending(), self._limit_bytes))
        self._touched_blobs.clear()
        self._touched_tags.clear()
        return [self._publish(batch) for batch in batches]

    def snapshot(self, addresses: tuple[str, ...] = ()) -> PublishedSnapshot:
        everything = Holdings().events_to_reach(StoreContent(self._published.blobs, self._published.tags))
        return PublishedSnapshot(
            self.position, addresses, tuple(pack(everything, self._limit_bytes)) or ((),)
        )

    def advertised(self, addresses: int) -> AdvertisedCounts:
        """The counts for a node with this number of addresses."""
        tags, blobs = self._published.tags, self._published.blobs
        images = len({tag.digest for tag in tags.values()})
        return AdvertisedCounts(images, len(tags), len(blobs), addresses, self._count_withheld())

    def outbid(self, incarnation: int) -> None:
        """Begin a new incarnation above `incarnation`, with nothing published yet."""
        self._incarnation, self._sequence = incarnation + 1, 0
        self._published, self._inventory = Holdings(), RunningInventory()
        self._touched_blobs = set(self._live.blobs)
        self._touched_tags = set(self._live.tags)

    def _count_withheld(self) -> int:
        return len(self._withheld & self._live.blobs.keys())

    def _pending(self) -> Iterator[StoreEvent]:
        for digest in self._touched_blobs:
            size_bytes = None if digest in self._withheld else self._live.blobs.get(digest)
            if event := self._published.blob_event(digest, size_bytes):
                yield event
        for reference in self._touched_tags:
            tag = self._live.tags.get(reference)
            if tag != self._published.tags.get(reference):
                yield (
                    TagRemoved(reference) if tag is None else TagSet(reference, tag.digest, tag.tagged_at_ms)
                )

    def _points_at(self, reference: str) -> Digest | None:
        tag = self._live.tags.get(reference)
        return tag.digest if tag else None

    def _publish(self, events: tuple[StoreEvent, ...]) -> Delta:
        for event in events:
            self._count(event)
            self._published.apply(event)
        self._sequence += 1
        return Delta(self.position, events)

    def _count(self, event: StoreEvent) -> None:
        match event:
            case BlobAdded(digest=digest):
                if digest not in self._published.blobs:
                    self._inventory.add_digest(digest)
            case BlobRemoved(digest=digest):
                self._inventory.remove_digest(digest)
            case TagSet(reference=reference, digest=digest):
                self._uncount_tag(reference)
                self._inventory.add_tag(reference, digest)
            case TagRemoved(reference=reference):
                self._uncount_tag(reference)
            case _:
                assert_never(event)

    def _uncount_tag(self, reference: str) -> None:
        if tag := self._published.tags.get(reference):
            self._inventory.remove_tag(reference, tag.digest)
