"""How many bytes an event takes in a JSON message, and how events are dealt out to messages by that."""

from collections.abc import Iterable, Iterator
from typing import assert_never

from heliograph_indexer.domain.content import BlobAdded, BlobRemoved, StoreEvent, TagRemoved, TagSet
from heliograph_shared.events import MAX_MESSAGE_BYTES

ENVELOPE_BYTES = 16_384
"""Kept free for headers, numbers, names, zone and addresses, whose lengths the settings bound."""

EVENT_BYTES = MAX_MESSAGE_BYTES - ENVELOPE_BYTES


def encoded_bytes(event: StoreEvent) -> int:
    """The event's share of a message, with the comma after it. Digests and references are plain ASCII."""
    match event:
        case BlobAdded(digest, size_bytes):
            return len(digest) + len(str(size_bytes)) + len('"":,')
        case BlobRemoved(digest):
            return len(digest) + len('"",')
        case TagSet(reference, digest, tagged_at_ms):
            fixed = len('"":{"digest":"","tagged_at_ms":},')
            return len(reference) + len(digest) + len(str(tagged_at_ms)) + fixed
        case TagRemoved(reference):
            return len(reference) + len('"",')
        case _:
            assert_never(event)


def pack(events: Iterable[StoreEvent], room_bytes: int = EVENT_BYTES) -> Iterator[tuple[StoreEvent, ...]]:
    """The events in order, in as few parts as fit in `room_bytes` each; one event is never divided."""
    part: list[StoreEvent] = []
    taken = 0
    for event in events:
        size = encoded_bytes(event)
        if part and taken + size > room_bytes:
            yield tuple(part)
            part, taken = [], 0
        part.append(event)
        taken += size
    if part:
        yield tuple(part)
