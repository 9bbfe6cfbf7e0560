"""A relay resumes at other peers: the client gets its span, or its first bytes if no peer has the rest."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.ranges import ByteRange, Span
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.stall import StallDetector
from heliograph_registry.mirror.domain.throughput import Throughput
from heliograph_registry.mirror.errors import NotServed, StreamBroken
from heliograph_registry.mirror.ports import PeerStream
from heliograph_registry.mirror.relay import Relay
from tests.support.fakes.outlet import MemoryOutlet
from tests.support.fakes.peers import MemoryPeer, MemoryPeerStream

DATA = bytes(range(256)) * 4
MOST_RESUMES = 16

spans = st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, len(DATA) - 1)).map(
    lambda ends: Span(min(ends), max(ends), len(DATA))
)
portions = st.lists(st.integers(0, 400), max_size=40)
"""How many bytes each further peer sends before it fails; after the last one no peer is left."""


def dying(span: Span, portion: int) -> MemoryPeerStream:
    """A stream that gives `portion` bytes of its span and then fails, in pieces of at most 50 bytes."""
    registry = MemoryPeer("peer", "peer:5000", piece_bytes=50, breaks_after=[portion])
    return MemoryPeerStream(
        registry.peer, registry, DATA, span, StallDetector(0.0, source_s=1.0), closed=lambda: None
    )


@given(spans, st.integers(1, 400), portions)
def test_a_client_gets_its_span_or_the_first_bytes_of_it(span: Span, first: int, more: list[int]) -> None:
    asked: list[int] = []
    streams = [dying(span, first)]
    ended: list[dict[str, int]] = []

    async def resume(
        offset: int, failed: tuple[Peer, ...], instead_of: Peer | None = None
    ) -> tuple[Peer, PeerStream]:
        asked.append(offset)
        assert len(failed) == len(asked)
        if len(asked) > len(more):
            raise NotServed(Reason.PEERS_FAILED)
        rest = ByteRange(offset, span.last).of(len(DATA))
        assert rest is not None
        streams.append(dying(rest, more[len(asked) - 1]))
        return Peer(f"peer-{len(asked)}", ()), streams[-1]

    async def deliver() -> bytes:
        outlet = MemoryOutlet()
        await outlet.write(b"head")
        relay = Relay(
            Peer("peer-0", ()),
            streams[0],
            resume,
            throughput=Throughput(),
            failed=lambda _: None,
            ended=ended.append,
        )
        broken = None
        try:
            await relay.deliver(outlet)
        except StreamBroken as error:
            broken = error.sent_bytes, error.missing_bytes
        relay.close()
        received = bytes(outlet.received[4:])
        assert broken == (
            None if len(received) == span.count else (len(received), span.count - len(received))
        )
        return received

    received = asyncio.run(deliver())
    expected = DATA[span.first : span.last + 1]
    assert received == expected[: len(received)]
    assert len(received) == min(span.count, first + sum(more[:MOST_RESUMES]))
    assert all(offset > span.first for offset in asked)
    assert asked == sorted(asked)
    assert len(asked) <= MOST_RESUMES
    assert all(stream.closed for stream in streams)
    (bytes_by_node,) = ended
    assert list(bytes_by_node) == [f"peer-{number}" for number in range(len(streams))]
    assert sum(bytes_by_node.values()) == len(received)


def test_a_relay_that_never_started_is_not_reported() -> None:
    ended: list[dict[str, int]] = []

    async def never(
        offset: int, failed: tuple[Peer, ...], instead_of: Peer | None = None
    ) -> tuple[Peer, PeerStream]:
        pytest.fail("no bytes were requested")

    stream = dying(Span(0, 9, len(DATA)), 10)
    Relay(
        Peer("peer", ()),
        stream,
        never,
        throughput=Throughput(),
        failed=lambda _: None,
        ended=ended.append,
    ).close()
    assert stream.closed
    assert ended == []
