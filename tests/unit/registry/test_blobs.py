"""Where a blob comes from, what is answered when it cannot be had, and that no slot is ever lost."""

import asyncio

import pytest

from heliograph_registry.mirror.blobs import BlobAnswer, Blobs
from heliograph_registry.mirror.domain.ranges import ByteRange, Span
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import LOCAL, FromPeer
from heliograph_registry.mirror.errors import Busy, ClientGone, NotServed, RangeNotSatisfiable, StreamBroken
from heliograph_shared.digest import Digest, digest_of
from tests.support.fakes.cluster import FIRST_BYTE_S, FakeCluster, blob, delivered
from tests.support.fakes.outlet import MemoryOutlet

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

DATA = bytes(range(256)) * 1000
DIGEST = digest_of(DATA)
OTHER = b"another blob"
HALF = len(DATA) // 2


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


async def get(
    blobs: Blobs,
    wanted: ByteRange | None = None,
    *,
    from_peer: bool = False,
    digest: Digest = DIGEST,
    client: str = "client",
) -> BlobAnswer:
    return await blobs.get(blob(digest), wanted, from_peer=from_peer, client=client)


async def refused(
    blobs: Blobs, wanted: ByteRange | None = None, *, from_peer: bool = False, digest: Digest = DIGEST
) -> Reason:
    with pytest.raises(NotServed) as raised:
        await get(blobs, wanted, from_peer=from_peer, digest=digest)
    return raised.value.reason


def idle(blobs: Blobs) -> bool:
    return (blobs.to_clients(), blobs.to_peers()) == (0, 0)


# --- this node's own store --------------------------------------------------------------------------


@pytest.mark.parametrize("from_peer", [False, True])
async def test_own_content_is_served_to_everybody(cluster: FakeCluster, *, from_peer: bool) -> None:
    cluster.content.put(DATA)
    async with cluster.mirror() as here:
        answer = await get(here.blobs, from_peer=from_peer)
        assert (answer.source, answer.partial, answer.span) == (LOCAL, False, Span(0, 255_999, 256_000))
        assert (here.blobs.to_clients(), here.blobs.to_peers()) == ((0, 1) if from_peer else (1, 0))
        assert await delivered(answer) == DATA
        assert idle(here.blobs)
    assert cluster.resolver.queries == []
    assert cluster.leaks() == []


@pytest.mark.parametrize(
    ("wanted", "first", "end"),
    [
        (ByteRange(10, 19), 10, 20),
        (ByteRange(10, None), 10, len(DATA)),
        (ByteRange(None, 7), len(DATA) - 7, len(DATA)),
        (ByteRange(0, 10 * len(DATA)), 0, len(DATA)),
    ],
)
async def test_a_range_is_served(cluster: FakeCluster, wanted: ByteRange, first: int, end: int) -> None:
    cluster.content.put(DATA)
    async with cluster.mirror() as here:
        answer = await get(here.blobs, wanted)
        assert (answer.partial, answer.span) == (True, Span(first, end - 1, len(DATA)))
        assert await delivered(answer) == DATA[first:end]


@pytest.mark.parametrize("held_by", ["this node", "a peer"])
async def test_a_range_beyond_the_end_is_told_with_the_size(cluster: FakeCluster, held_by: str) -> None:
    if held_by == "this node":
        cluster.content.put(DATA)
    else:
        cluster.node("a", DATA)
    async with cluster.mirror() as here:
        with pytest.raises(RangeNotSatisfiable) as raised:
            await get(here.blobs, ByteRange(len(DATA), None))
        assert raised.value.size_bytes == len(DATA)
        assert idle(here.blobs)
    assert cluster.leaks() == []


async def test_an_empty_file_is_not_served_as_a_blob(cluster: FakeCluster) -> None:
    """A crash leaves such files."""
    cluster.content.put(b"", DIGEST)
    cluster.node("a", DATA)
    async with cluster.mirror() as here:
        answer = await get(here.blobs)
        assert answer.source == FromPeer("a")
        assert await delivered(answer) == DATA
        assert await refused(here.blobs, from_peer=True) is Reason.NOT_LOCAL
    assert cluster.leaks() == []


async def test_the_empty_blob_is_served(cluster: FakeCluster) -> None:
    empty = cluster.content.put(b"")
    async with cluster.mirror() as here:
        answer = await get(here.blobs, digest=empty)
        assert answer.span.count == 0
        assert await delivered(answer) == b""


async def test_what_cannot_be_read_comes_from_a_peer(cluster: FakeCluster) -> None:
    cluster.content.break_reads(cluster.content.put(DATA))
    cluster.node("a", DATA)
    async with cluster.mirror() as here:
        answer = await get(here.blobs)
        assert answer.source == FromPeer("a")
        assert await delivered(answer) == DATA
    assert cluster.leaks() == []


# --- peers --------------------------------------------------------------------------------------------


async def test_a_peers_blob_is_relayed_and_counted(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    async with cluster.mirror() as here:
        answer = await get(here.blobs, ByteRange(100, 299))
        assert (answer.source, answer.partial) == (FromPeer("a"), True)
        assert await delivered(answer) == DATA[100:300]
        assert idle(here.blobs)
    assert cluster.fetched == {"a": 200}
    assert cluster.leaks() == []


async def test_a_peer_is_not_served_from_other_peers(cluster: FakeCluster) -> None:
    holder = cluster.node("a", DATA)
    async with cluster.mirror() as here:
        assert await refused(here.blobs, from_peer=True) is Reason.NOT_LOCAL
        assert idle(here.blobs)
    assert (holder.asked, cluster.resolver.queries) == ([], [])


async def test_what_nobody_holds_is_not_found(cluster: FakeCluster) -> None:
    cluster.node("a", OTHER)
    async with cluster.mirror() as here:
        assert await refused(here.blobs) is Reason.NOT_FOUND
        assert idle(here.blobs)


async def test_no_router_is_not_the_same_as_nobody(cluster: FakeCluster) -> None:
    cluster.router.down = "UNAVAILABLE"
    async with cluster.mirror() as here:
        assert await refused(here.blobs) is Reason.RESOLVER_UNAVAILABLE
        assert idle(here.blobs)


async def test_peers_that_hang_are_given_up_when_the_first_byte_is_due(cluster: FakeCluster) -> None:
    for name in "ab":
        cluster.node(name, DATA).hangs = True
    clock = asyncio.get_running_loop().time
    async with cluster.mirror() as here:
        began = clock()
        assert await refused(here.blobs) is Reason.TIMEOUT
        assert clock() - began == pytest.approx(FIRST_BYTE_S, abs=0.001)
        assert idle(here.blobs)
    assert cluster.leaks() == []


async def test_the_rest_comes_from_another_when_a_peer_breaks_off(cluster: FakeCluster) -> None:
    breaking = cluster.node("a", DATA)
    breaking.breaks_after = [HALF]
    cluster.node("b", DATA)
    async with cluster.mirror() as here:
        answer = await get(here.blobs)
        assert await delivered(answer) == DATA
        assert list(here.peering.asked_last()) == ["a"]
        assert idle(here.blobs)
    assert cluster.fetched == {"a": HALF, "b": len(DATA) - HALF}
    assert cluster.leaks() == []


async def test_without_another_peer_the_body_ends_early(cluster: FakeCluster) -> None:
    cluster.node("a", DATA).breaks_after = [HALF, 0, 0, 0]
    async with cluster.mirror() as here:
        answer = await get(here.blobs)
        with pytest.raises(StreamBroken) as raised:
            await delivered(answer)
        assert (raised.value.sent_bytes, raised.value.missing_bytes) == (HALF, len(DATA) - HALF)
        assert idle(here.blobs)
    assert cluster.leaks() == []


async def test_a_client_that_leaves_gives_everything_back(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    async with cluster.mirror() as here:
        answer = await get(here.blobs)
        assert answer.body is not None
        with pytest.raises(ClientGone):
            await answer.body.deliver(MemoryOutlet(leaves_after=1000))
        answer.close()
        assert idle(here.blobs)
    assert cluster.leaks() == []


async def test_a_request_that_is_cancelled_gives_everything_back(cluster: FakeCluster) -> None:
    cluster.node("a", DATA).hangs = True
    async with cluster.mirror() as here:
        asking = asyncio.create_task(get(here.blobs))
        await asyncio.sleep(0.1)
        assert here.blobs.to_clients() == 1
        asking.cancel()
        await asyncio.wait([asking])
        assert idle(here.blobs)
    assert cluster.leaks() == []


# --- HEAD ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_peer", [False, True])
async def test_the_size_of_own_content_is_told(cluster: FakeCluster, *, from_peer: bool) -> None:
    cluster.content.put(DATA)
    async with cluster.mirror() as here:
        answer = await here.blobs.head(blob(DIGEST), from_peer=from_peer)
        assert (answer.source, answer.span.size_bytes, answer.body) == (LOCAL, len(DATA), None)
    assert cluster.leaks() == []


async def test_the_size_of_a_peers_content_is_told_to_clients_only(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    async with cluster.mirror() as here:
        answer = await here.blobs.head(blob(DIGEST), from_peer=False)
        assert (answer.source, answer.span.size_bytes, answer.body) == (FromPeer("a"), len(DATA), None)
        with pytest.raises(NotServed) as raised:
            await here.blobs.head(blob(DIGEST), from_peer=True)
        assert raised.value.reason is Reason.NOT_LOCAL
        assert idle(here.blobs)


# --- slots ---------------------------------------------------------------------------------------------


async def test_clients_and_peers_have_slots_of_their_own(cluster: FakeCluster) -> None:
    cluster.content.put(DATA)
    async with cluster.mirror(transfers=2) as here:
        for_clients = [await get(here.blobs) for _ in range(2)]
        with pytest.raises(Busy):
            await get(here.blobs)
        for_peers = [await get(here.blobs, from_peer=True) for _ in range(2)]
        with pytest.raises(Busy):
            await get(here.blobs, from_peer=True)
        for_clients.pop().close()
        for_clients.append(await get(here.blobs))
        with pytest.raises(Busy):
            await get(here.blobs, from_peer=True)
        for answer in for_clients + for_peers:
            answer.close()
        assert idle(here.blobs)
    assert cluster.leaks() == []


# --- what is asked for again ---------------------------------------------------------------------------


async def test_what_is_asked_for_again_is_hashed_first(cluster: FakeCluster) -> None:
    liar = cluster.node("a", DATA)
    cluster.node("b", DATA)
    liar.put(DATA[::-1], DIGEST)
    async with cluster.mirror() as here:
        assert await delivered(await get(here.blobs)) == DATA[::-1]
        answer = await get(here.blobs)
        assert answer.source == FromPeer("b")
        assert cluster.spool.held_bytes == len(DATA)
        assert await delivered(answer) == DATA
        assert idle(here.blobs)
    assert cluster.leaks() == []


async def test_a_range_of_what_was_hashed_first_is_served(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    async with cluster.mirror() as here:
        wanted = ByteRange(10, len(DATA) - 11)
        for hashed in (False, True):
            answer = await get(here.blobs, wanted)
            assert answer.span == Span(10, len(DATA) - 11, len(DATA))
            assert bool(cluster.spool.held_bytes) is hashed
            assert await delivered(answer) == DATA[10:-10]
    assert cluster.leaks() == []


async def test_a_small_range_again_is_relayed(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    async with cluster.mirror() as here:
        for _ in range(20):
            assert await delivered(await get(here.blobs, ByteRange(0, 1))) == DATA[:2]
    assert cluster.fetched == {"a": 40}


async def test_another_client_is_no_repeat(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    async with cluster.mirror() as here:
        for client in ("one", "two", "three"):
            answer = await get(here.blobs, client=client)
            assert cluster.spool.held_bytes == 0
            assert await delivered(answer) == DATA


async def test_what_was_hashed_is_relayed_from_there_and_not_hashed_again(cluster: FakeCluster) -> None:
    first, second = cluster.node("a", DATA), cluster.node("b", DATA)
    async with cluster.mirror() as here:
        await delivered(await get(here.blobs))
        await delivered(await get(here.blobs))  # hashed, from the other peer
        cluster.spool.room_bytes = 0
        for _ in range(5):
            answer = await get(here.blobs)
            assert answer.source == FromPeer("b")
            assert await delivered(answer) == DATA
    assert (len(first.asked), len(second.asked)) == (1, 6)
    assert cluster.leaks() == []


async def test_repeats_at_the_same_time_are_hashed_once(cluster: FakeCluster) -> None:
    """The others are relayed after that."""
    peer = cluster.node("a", DATA)
    async with cluster.mirror() as here:
        await delivered(await get(here.blobs))
        peer.answers_after_s = 0.1
        answers = await asyncio.gather(*(get(here.blobs) for _ in range(4)))
        assert cluster.spool.held_bytes == len(DATA)
        assert [await delivered(answer) for answer in answers] == [DATA] * 4
        assert idle(here.blobs)
    assert cluster.leaks() == []


async def test_other_parts_of_a_blob_are_not_repeats(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    async with cluster.mirror() as here:
        for first in (0, HALF):
            await delivered(await get(here.blobs, ByteRange(first, first + 99)))
            assert cluster.spool.held_bytes == 0


async def test_hashing_takes_as_long_as_it_needs(cluster: FakeCluster) -> None:
    slow = cluster.node("a", DATA)
    async with cluster.mirror() as here:
        await delivered(await get(here.blobs))
        slow.answers_after_s = 4 * FIRST_BYTE_S
        assert await delivered(await get(here.blobs)) == DATA


async def test_without_right_bytes_a_repeat_is_refused(cluster: FakeCluster) -> None:
    cluster.node("a", DATA).put(DATA[::-1], DIGEST)
    async with cluster.mirror() as here:
        await delivered(await get(here.blobs))
        assert await refused(here.blobs) is Reason.NOT_VERIFIED
        assert idle(here.blobs)
    assert cluster.leaks() == []


async def test_without_room_to_hash_a_repeat_is_refused(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    cluster.spool.room_bytes = 0
    async with cluster.mirror() as here:
        await delivered(await get(here.blobs))
        assert await refused(here.blobs) is Reason.NOT_VERIFIED


async def test_what_was_proven_may_be_relayed_again(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    cluster.spool.room_bytes = 0
    async with cluster.mirror() as here:
        for _ in range(3):
            assert await delivered(await get(here.blobs)) == DATA
            here.blobs.mark_verified(DIGEST)


async def test_what_arrived_in_the_store_was_right(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    cluster.spool.room_bytes = 0
    async with cluster.mirror() as here:
        await delivered(await get(here.blobs))
        cluster.content.put(DATA)
        await asyncio.sleep(1.1)
        cluster.content.remove(DIGEST)
        assert await delivered(await get(here.blobs)) == DATA
