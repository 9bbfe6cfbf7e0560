"""No message exceeds its limit, headers and all, and none is smaller than it needs to be."""

import string
import uuid
from itertools import pairwise
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph_indexer.adapters.bus_messages import BusMessages
from heliograph_indexer.domain.content import (
    BlobAdded,
    BlobRemoved,
    StoreContent,
    StoreEvent,
    TagRemoved,
    TagSet,
    TagTarget,
)
from heliograph_indexer.domain.packing import ENVELOPE_BYTES, encoded_bytes, pack
from heliograph_indexer.domain.publication import Delta, Publication
from heliograph_indexer.settings import MAX_ADDRESSES
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.events import MAX_MESSAGE_BYTES, encode, headers

NEVER_LONGER_NAME = "\U0001f30d" * 253
ADDRESSES = tuple(f"{'a' * 253}:{port}" for port in range(50_000, 50_000 + MAX_ADDRESSES))

hexadecimal = st.text("0123456789abcdef", min_size=64, max_size=64)
digests = st.one_of(
    hexadecimal.map(lambda text: Digest(f"sha256:{text}")),
    hexadecimal.map(lambda text: Digest(f"sha512:{text}{text}")),
)
names = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=250)
references = st.builds(
    "{0}.test/{1}:{2}".format, names, names, st.text(string.ascii_letters, min_size=1, max_size=128)
)
counts = st.integers(0, 2**63 - 1)
store_events = st.one_of(
    st.builds(BlobAdded, digests, counts),
    st.builds(BlobRemoved, digests),
    st.builds(TagSet, references, digests, counts),
    st.builds(TagRemoved, references),
)


@given(st.lists(store_events, max_size=50), st.integers(1, 2000))
def test_parts_keep_every_event_in_order_and_the_room(events: list[StoreEvent], room_bytes: int) -> None:
    parts = list(pack(events, room_bytes))
    assert [event for part in parts for event in part] == events
    for part in parts:
        assert len(part) == 1 or sum(map(encoded_bytes, part)) <= room_bytes
    for part, following in pairwise(parts):
        assert sum(map(encoded_bytes, (*part, following[0]))) > room_bytes


@given(store_events)
def test_an_events_share_is_what_it_adds_to_a_message(event: StoreEvent) -> None:
    position = Publication(1).position
    empty, full = (encode(BusMessages("n", "").changed(Delta(position, events))) for events in ((), (event,)))
    assert len(full) - len(empty) == encoded_bytes(event) - len(",")


@settings(max_examples=5)
@given(st.integers(0, 2**32), st.booleans())
def test_the_largest_messages_stay_within_the_limit(seed: int, tags: bool) -> None:  # noqa: FBT001
    """With the longest names, numbers, addresses and headers that the settings admit."""
    longest = 2**63 - 1
    content = StoreContent(
        {digest_of(f"{seed}-{n}".encode()): longest for n in range(25_000)},
        {
            f"{'r' * 200}.test/{n:>0200}:{'t' * 128}": TagTarget(digest_of(b"", "sha512"), longest)
            for n in range(2_000 if tags else 0)
        },
    )
    messages = BusMessages(NEVER_LONGER_NAME, NEVER_LONGER_NAME)
    publication = Publication(longest - 1)
    publication.replace(content)
    source = "/nodes/" + quote(NEVER_LONGER_NAME)
    trace = {"traceparent": "0" * 55, "tracestate": "s" * 512}

    deltas = [messages.changed(delta) for delta in publication.take_deltas()]
    chunks = list(messages.snapshot(publication.snapshot(ADDRESSES)))

    assert len(deltas) == len(chunks) == (5 if tags else 3)
    for message in (*deltas, *chunks):
        carried = headers(type(message), source=source, event_id=uuid.uuid4().hex, trace=trace)
        lines = sum(len(f"{name}: {value}\r\n") for name, value in carried.items()) + len("NATS/1.0\r\n\r\n")
        assert len(encode(message)) + lines <= MAX_MESSAGE_BYTES
    fullest = max(len(encode(message)) for message in deltas)
    assert fullest > MAX_MESSAGE_BYTES - ENVELOPE_BYTES - 2_000
