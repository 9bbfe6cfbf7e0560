"""Packs events into messages of bounded size, by the bytes that each takes as JSON. Pure."""

from collections.abc import Iterable, Iterator
from typing import assert_never

from heliograph_indexer.domain.content import BlobAdded, BlobRemoved, StoreEvent, TagRemoved, TagSet
from heliograph_shared.events import MAX_MESSAGE_BYTES

ENVELOPE_BYTES = 16_384
"""Reserved for headers, numbers, names, zone and addresses, whose lengths the settings bound."""

EVENT_BYTES = MAX_MESSAGE_BYTES - ENVELOPE_BYTES


def encoded_bytes(event: StoreEvent) -> int:
    """Bytes that the event adds to a message, with the comma after it. Digests and references are ASCII."""
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


def pack(events: Iterable[StoreEvent], limit_bytes: int = EVENT_BYTES) -> Iterator[tuple[StoreEvent, ...]]:
    """The events in order, in as few batches of at most `limit_bytes` as possible.

    An event is never divided: one that is larger is a batch of its own.
    """
    batch: list[StoreEvent] = []
    taken_bytes = 0
    for event in events:
        size_bytes = encoded_bytes(event)
        if batch and taken_bytes + size_bytes > limit_bytes:
            yield tuple(batch)
            batch, taken_bytes = [], 0
        batch.append(event)
        taken_bytes += size_bytes
    if batch:
        yield tuple(batch)
