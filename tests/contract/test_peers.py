"""What the registry expects of its peers: those in memory, and real ones over HTTP."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.ranges import ByteRange, Span
from heliograph_registry.mirror.domain.target import Blob, ManifestByDigest, ManifestByTag
from heliograph_registry.mirror.errors import ManifestTooLarge, PeerFailed, PeerSlow, RangeNotSatisfiable
from heliograph_registry.mirror.ports import PeerStream
from heliograph_shared.digest import digest_of
from tests.contract.peers_support import NAME, STALL_S, FaultyPeer, OnePeer, faulty_peer, real_registry

DATA = bytes(range(256)) * 1000
MANIFEST = json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode()
ABSENT = Blob(NAME, digest_of(b"absent"))


@pytest.fixture(params=["memory", "http", "registry"])
async def one(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OnePeer]:
    opened = real_registry(tmp_path) if request.param == "registry" else faulty_peer(request.param)
    async with opened as peer:
        yield peer


@pytest.fixture(params=["memory", "http"])
async def faulty(request: pytest.FixtureRequest) -> AsyncIterator[FaultyPeer]:
    async with faulty_peer(request.param) as peer:
        yield peer


async def read_all(stream: PeerStream, most: int = 1 << 20) -> bytes:
    pieces = []
    while piece := await stream.read(most):
        assert len(piece) <= max(most, 64 << 10)
        pieces.append(piece)
    return b"".join(pieces)


async def received_until_failure(stream: PeerStream) -> bytes:
    """What came before the stream raised `PeerFailed`, which it must."""
    received = bytearray()

    async def receive() -> None:
        while piece := await stream.read():
            received.extend(piece)
            assert stream.left_bytes == stream.span.count - len(received)

    with pytest.raises(PeerFailed) as raised:
        await receive()
    assert not raised.value.healthy
    stream.close()
    return bytes(received)


async def test_a_whole_blob_is_fetched(one: OnePeer) -> None:
    stream = await one.peers.fetch(one.peer, one.blob(DATA), None)
    assert stream.span == Span(0, len(DATA) - 1, len(DATA))
    assert stream.left_bytes == len(DATA)
    assert await read_all(stream, 10_000) == DATA
    assert stream.left_bytes == 0
    assert await stream.read() == b""
    stream.close()


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        (ByteRange(100, 199), Span(100, 199, len(DATA))),
        (ByteRange(100, None), Span(100, len(DATA) - 1, len(DATA))),
        (ByteRange(None, 10), Span(len(DATA) - 10, len(DATA) - 1, len(DATA))),
    ],
)
async def test_a_range_is_fetched(one: OnePeer, wanted: ByteRange, span: Span) -> None:
    stream = await one.peers.fetch(one.peer, one.blob(DATA), wanted)
    assert stream.span == span
    assert await read_all(stream) == DATA[span.first : span.last + 1]
    stream.close()


async def test_an_empty_blob_is_fetched(one: OnePeer) -> None:
    stream = await one.peers.fetch(one.peer, one.blob(b""), None)
    assert (stream.span.count, stream.left_bytes) == (0, 0)
    assert await stream.read() == b""
    stream.close()


async def test_a_range_beyond_the_end_is_told_with_the_size(one: OnePeer) -> None:
    with pytest.raises(RangeNotSatisfiable) as raised:
        await one.peers.fetch(one.peer, one.blob(DATA), ByteRange(len(DATA), None))
    assert raised.value.size_bytes == len(DATA)


async def test_the_first_bytes_are_in_hand_before_the_others_are_read(one: OnePeer) -> None:
    stream = await one.peers.fetch(one.peer, one.blob(DATA), None)
    first = stream.take_first()
    assert DATA.startswith(first)
    assert first
    assert stream.left_bytes == len(DATA) - len(first)
    assert first + await read_all(stream) == DATA
    stream.close()


async def test_a_stream_may_be_closed_early_and_twice(one: OnePeer) -> None:
    target = one.blob(DATA)
    stream = await one.peers.fetch(one.peer, target, None)
    await stream.read(10)
    stream.close()
    stream.close()
    again = await one.peers.fetch(one.peer, target, None)
    assert await read_all(again) == DATA
    again.close()


async def test_a_manifest_is_fetched_by_its_digest(one: OnePeer) -> None:
    stream = await one.peers.fetch(one.peer, one.manifest(MANIFEST), None)
    assert await read_all(stream) == MANIFEST
    stream.close()


async def test_a_manifest_of_more_than_4_mib_is_told(one: OnePeer) -> None:
    large = bytes((4 << 20) + 1)
    with pytest.raises(ManifestTooLarge) as raised:
        await one.peers.fetch(one.peer, one.manifest(large), None)
    assert raised.value.healthy
    blob = await one.peers.fetch(one.peer, one.blob(large), None)
    blob.close()


async def test_the_size_of_a_blob_is_told(one: OnePeer) -> None:
    assert await one.peers.size_of(one.peer, one.blob(DATA)) == len(DATA)
    assert await one.peers.size_of(one.peer, one.blob(b"")) == 0


async def test_the_digest_of_a_tag_is_told(one: OnePeer) -> None:
    digest = one.content.put(MANIFEST)
    assert await one.peers.digest_of(one.peer, one.tag("v1", digest)) == digest


async def test_a_peer_that_has_not_got_it_is_well(one: OnePeer) -> None:
    for asking in (
        one.peers.fetch(one.peer, ABSENT, None),
        one.peers.fetch(one.peer, ManifestByDigest(NAME, ABSENT.digest), None),
        one.peers.size_of(one.peer, ABSENT),
        one.peers.digest_of(one.peer, ManifestByTag(NAME, "absent")),
        one.peers.digest_of(one.peer, one.tag("dangling", ABSENT.digest)),
    ):
        with pytest.raises(PeerFailed) as raised:
            await asking
        assert (raised.value.peer, raised.value.healthy, raised.value.status) == ("a", True, 404)


async def test_a_peer_where_nobody_listens_has_failed(one: OnePeer) -> None:
    gone = Peer("gone", ("127.0.0.1:1",))
    for asking in (one.peers.fetch(gone, ABSENT, None), one.peers.size_of(gone, ABSENT)):
        with pytest.raises(PeerFailed) as raised:
            await asking
        assert (raised.value.peer, raised.value.healthy) == ("gone", False)


async def test_another_address_is_tried_where_nobody_listens_at_the_first(one: OnePeer) -> None:
    peer = Peer("a", ("127.0.0.1:1", *one.peer.addresses))
    assert await one.peers.size_of(peer, one.blob(DATA)) == len(DATA)


async def test_a_busy_peer_is_well(faulty: FaultyPeer) -> None:
    faulty.registry.busy = True
    with pytest.raises(PeerFailed) as raised:
        await faulty.peers.fetch(faulty.peer, faulty.blob(DATA), None)
    assert (raised.value.healthy, raised.value.status) == (True, 503)


@pytest.mark.parametrize("sent", [1, 1000, len(DATA) - 1])
async def test_a_body_that_breaks_off_has_failed_after_what_came(faulty: FaultyPeer, sent: int) -> None:
    faulty.registry.breaks_after = [sent]
    stream = await faulty.peers.fetch(faulty.peer, faulty.blob(DATA), None)
    assert await received_until_failure(stream) == DATA[:sent]


async def test_a_body_without_its_first_byte_has_failed_at_once(faulty: FaultyPeer) -> None:
    faulty.registry.breaks_after = [0]
    with pytest.raises(PeerFailed) as raised:
        await faulty.peers.fetch(faulty.peer, faulty.blob(DATA), None)
    assert not raised.value.healthy


async def test_a_peer_may_be_asked_again_after_it_broke_off(faulty: FaultyPeer) -> None:
    faulty.registry.breaks_after = [1000]
    target = faulty.blob(DATA)
    await received_until_failure(await faulty.peers.fetch(faulty.peer, target, None))
    rest = await faulty.peers.fetch(faulty.peer, target, ByteRange(1000, None))
    assert await read_all(rest) == DATA[1000:]
    rest.close()


async def test_a_peer_that_stalls_has_failed_after_a_while(faulty: FaultyPeer) -> None:
    faulty.registry.stalls = True
    faulty.registry.piece_bytes = 5000
    stream = await faulty.peers.fetch(faulty.peer, faulty.blob(DATA), None)
    began = time.monotonic()
    assert await received_until_failure(stream) == DATA[:5000]
    assert STALL_S * 0.9 <= time.monotonic() - began < STALL_S + 10


@pytest.mark.parametrize("kind", ["memory", "http"])
async def test_a_slow_peer_can_be_read_on(kind: str) -> None:
    async with faulty_peer(kind, stall_s=20) as slow:
        slow.registry.piece_bytes, slow.registry.pauses_s = 5000, 2.8
        stream = await slow.peers.fetch(slow.peer, slow.blob(DATA), None)
        first = b""
        while len(first) < 5000:
            first += await stream.read()
        with pytest.raises(PeerSlow) as raised:
            await stream.read()
        assert (raised.value.peer, len(first)) == (stream.node, 5000)
        assert first + await read_all(stream) == DATA
        stream.close()


@pytest.mark.parametrize("kind", ["memory", "http"])
async def test_a_slow_peer_may_be_left(kind: str) -> None:
    async with faulty_peer(kind, stall_s=20) as slow:
        slow.registry.piece_bytes, slow.registry.stalls = 5000, True
        target = slow.blob(DATA)
        stream = await slow.peers.fetch(slow.peer, target, None)
        while stream.left_bytes > len(DATA) - 5000:
            await stream.read()
        with pytest.raises(PeerSlow):
            await stream.read()
        stream.close()
        slow.registry.stalls = False
        again = await slow.peers.fetch(slow.peer, target, None)
        assert await read_all(again) == DATA
        again.close()


async def test_a_peer_that_never_answers_is_given_up_by_the_caller(faulty: FaultyPeer) -> None:
    faulty.registry.hangs = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await faulty.peers.fetch(faulty.peer, faulty.blob(DATA), None)
