"""Blobs while peers fail and clients leave at any time: bytes are never wrong, and nothing is lost."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.blobs import Blobs
from heliograph_registry.mirror.domain.ranges import ByteRange
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.errors import Busy, ClientGone, NotServed, RangeNotSatisfiable, StreamBroken
from heliograph_shared.digest import digest_of
from tests.support.fakes.cluster import FakeCluster, blob
from tests.support.fakes.outlet import MemoryOutlet

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

DATA = bytes(range(256)) * 1000
DIGEST = digest_of(DATA)
OWN = b"a blob of this node"
HALF = len(DATA) // 2

failures = st.lists(st.integers(0, len(DATA)), max_size=6)
"""After how many bytes each of the next bodies of one peer breaks off."""
spans = st.one_of(
    st.none(),
    st.tuples(st.integers(0, len(DATA) - 1), st.integers(0, len(DATA) - 1)).map(
        lambda ends: ByteRange(min(ends), max(ends))
    ),
)


@given(st.lists(failures, min_size=1, max_size=3), spans)
async def test_a_client_receives_its_span_or_a_beginning_of_it(
    peers: Sequence[list[int]], wanted: ByteRange | None
) -> None:
    """Three peers at most: a router names no more for one request, and no more are tried."""
    cluster = FakeCluster()
    for number, breaks_after in enumerate(peers):
        cluster.node(f"n{number}", DATA).breaks_after = list(breaks_after)
    expected = DATA if wanted is None else DATA[wanted.first : (wanted.last or 0) + 1]
    outlet = MemoryOutlet()
    failure: Exception | None = None
    async with cluster.mirror() as here:
        try:
            answer = await here.blobs.get(blob(DIGEST), wanted, from_peer=False)
            assert answer.body is not None
            await answer.body.deliver(outlet)
        except (NotServed, StreamBroken) as error:
            failure = error
        if not isinstance(failure, NotServed):
            answer.close()
        assert (here.blobs.to_clients(), here.blobs.to_peers()) == (0, 0)
    assert expected.startswith(bytes(outlet.received))
    assert sum(cluster.fetched.values()) == len(outlet.received)
    assert cluster.leaks() == []
    missing = len(expected) - len(outlet.received)
    match failure:
        case None:
            assert missing == 0
        case StreamBroken():
            assert (failure.sent_bytes, failure.missing_bytes) == (len(outlet.received), missing)
        case NotServed():
            assert (failure.reason, len(outlet.received)) == (Reason.PEERS_FAILED, 0)
    if not all(peers):  # one that never fails
        assert missing == 0


requests = st.tuples(
    st.sampled_from(["whole", "part", "beyond", "absent", "own"]),
    st.booleans(),  # asked by a peer
    st.sampled_from(["delivered", "left", "cancelled", "unread"]),
)


@given(st.lists(requests, max_size=12), failures, st.sampled_from([0.0, 0.01, 0.04]), st.integers(0, 10))
async def test_slots_and_streams_are_given_back_whatever_happens(
    asked: list[tuple[str, bool, str]], breaks_after: list[int], answers_after_s: float, steps: int
) -> None:
    """`steps` is how far the requests have come when some of them are cancelled."""
    cluster = FakeCluster()
    first, second = cluster.node("a", DATA), cluster.node("b", DATA)
    first.breaks_after, first.answers_after_s = list(breaks_after), 2 * answers_after_s
    second.answers_after_s = answers_after_s
    own = cluster.content.put(OWN)
    ranges = {"part": ByteRange(HALF, None), "beyond": ByteRange(len(DATA), None)}
    digests = {"absent": digest_of(b"absent"), "own": own}

    async def one(blobs: Blobs, request: tuple[str, bool, str]) -> None:
        what, from_peer, end = request
        digest = digests.get(what, DIGEST)
        try:
            answer = await blobs.get(blob(digest), ranges.get(what), from_peer=from_peer)
        except (NotServed, RangeNotSatisfiable, Busy):
            return
        assert answer.body is not None
        try:
            if end != "unread":
                await answer.body.deliver(MemoryOutlet(leaves_after=1000 if end == "left" else None))
        except (StreamBroken, ClientGone):
            pass
        finally:
            answer.close()

    async with cluster.mirror(transfers=3) as here:
        tasks = {asyncio.create_task(one(here.blobs, each)): each for each in asked}
        for _ in range(steps):
            await asyncio.sleep(answers_after_s / 4)
        for task, (_, _, end) in tasks.items():
            if end == "cancelled":
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() or task.exception() is None for task in tasks)
        assert (here.blobs.to_clients(), here.blobs.to_peers()) == (0, 0)
    await asyncio.sleep(1)
    assert cluster.leaks() == []
