"""Requests that wait for a blob that another node is fetching."""

import asyncio

import pytest

from heliograph_registry.mirror.deadline import LONGEST_S
from heliograph_registry.mirror.domain.ranges import ByteRange
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.errors import NotServed
from heliograph_registry.settings import Settings
from heliograph_shared.digest import digest_of
from tests.support.fakes.cluster import FIRST_BYTE_S, FakeCluster, FakeMirror, blob, delivered
from tests.support.fakes.peers import MemoryPeer

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

DATA = bytes(range(256)) * 100
DIGEST = digest_of(DATA)
WAIT_S = 25.0


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def leader(cluster: FakeCluster) -> MemoryPeer:
    """A node that is fetching the blob from upstream."""
    leader = cluster.node("leader")
    cluster.router.lead(DIGEST, "leader")
    return leader


def asking(here: FakeMirror, wanted: ByteRange | None = None) -> asyncio.Task[bytes]:
    async def ask() -> bytes:
        return await delivered(await here.blobs.get(blob(DIGEST), wanted, from_peer=False))

    return asyncio.create_task(ask())


async def reason_of(asked: asyncio.Task[bytes]) -> Reason:
    with pytest.raises(NotServed) as raised:
        await asked
    return raised.value.reason


async def test_a_client_waits_for_the_leaders_copy(cluster: FakeCluster, leader: MemoryPeer) -> None:
    async with cluster.mirror(wait_s=WAIT_S) as here:
        asked = asking(here)
        await asyncio.sleep(WAIT_S - 1)
        assert not asked.done()
        cluster.announce(leader, DATA)
        assert await asked == DATA
    assert cluster.resolver.queries[0].wait_s == WAIT_S


async def test_after_a_wait_the_peer_has_the_whole_time_to_its_first_byte(
    cluster: FakeCluster, leader: MemoryPeer
) -> None:
    leader.answers_after_s = FIRST_BYTE_S * 0.9
    async with cluster.mirror(wait_s=WAIT_S) as here:
        asked = asking(here)
        await asyncio.sleep(10)
        cluster.announce(leader, DATA)
        assert await asked == DATA


async def test_after_a_wait_the_bound_is_there_again(cluster: FakeCluster, leader: MemoryPeer) -> None:
    leader.hangs = True
    clock = asyncio.get_running_loop().time
    async with cluster.mirror(wait_s=WAIT_S) as here:
        asked = asking(here)
        await asyncio.sleep(10)
        cluster.announce(leader, DATA)
        began = clock()
        assert await reason_of(asked) is Reason.TIMEOUT
        assert clock() - began == pytest.approx(FIRST_BYTE_S, abs=0.001)


async def test_an_answer_at_once_leaves_the_bound_where_it_was(cluster: FakeCluster) -> None:
    holder = cluster.node("a", DATA)
    holder.hangs = True
    cluster.router.answers_after_s = 0.1
    clock = asyncio.get_running_loop().time
    async with cluster.mirror(wait_s=WAIT_S) as here:
        began = clock()
        assert await reason_of(asking(here)) is Reason.TIMEOUT
        assert clock() - began == pytest.approx(FIRST_BYTE_S, abs=0.001)


async def test_a_wait_that_runs_out_goes_upstream(cluster: FakeCluster, leader: MemoryPeer) -> None:
    clock = asyncio.get_running_loop().time
    async with cluster.mirror(wait_s=WAIT_S) as here:
        began = clock()
        assert await reason_of(asking(here)) is Reason.GO_UPSTREAM
        assert clock() - began == pytest.approx(WAIT_S, abs=0.01)
        assert here.blobs.to_clients() == 0


async def test_no_wait_lasts_until_containerd_gives_up(cluster: FakeCluster, leader: MemoryPeer) -> None:
    clock = asyncio.get_running_loop().time
    async with cluster.mirror(wait_s=2 * LONGEST_S) as here:
        began = clock()
        assert await reason_of(asking(here)) is Reason.TIMEOUT
        assert clock() - began == pytest.approx(LONGEST_S, abs=0.01)


async def test_after_a_long_wait_the_first_byte_has_only_what_is_left(
    cluster: FakeCluster, leader: MemoryPeer
) -> None:
    leader.hangs = True
    clock = asyncio.get_running_loop().time
    async with cluster.mirror(wait_s=2 * LONGEST_S) as here:
        began = clock()
        asked = asking(here)
        await asyncio.sleep(LONGEST_S - FIRST_BYTE_S / 2)
        cluster.announce(leader, DATA)
        assert await reason_of(asked) is Reason.TIMEOUT
        assert clock() - began == pytest.approx(LONGEST_S, abs=0.01)


@pytest.mark.parametrize("name", ["wait_ms", "first_byte_timeout_ms"])
async def test_no_setting_allows_more(name: str) -> None:
    (longest_ms,) = [limit.le for limit in Settings.model_fields[name].metadata if hasattr(limit, "le")]
    assert longest_ms / 1000 < LONGEST_S < 30


async def test_the_first_to_ask_goes_upstream_at_once(cluster: FakeCluster) -> None:
    clock = asyncio.get_running_loop().time
    async with cluster.mirror(wait_s=WAIT_S) as here:
        began = clock()
        assert await reason_of(asking(here)) is Reason.GO_UPSTREAM
        assert clock() == began


@pytest.mark.parametrize("wanted", [None, ByteRange(0, 99), ByteRange(0, None)])
async def test_who_wants_the_first_byte_waits(
    cluster: FakeCluster, leader: MemoryPeer, wanted: ByteRange | None
) -> None:
    async with cluster.mirror(wait_s=WAIT_S) as here:
        asked = asking(here, wanted)
        await asyncio.sleep(1)
        assert not asked.done()
        cluster.announce(leader, DATA)
        await asked


@pytest.mark.parametrize("wanted", [ByteRange(1, None), ByteRange(100, 199), ByteRange(None, 10)])
async def test_later_parts_do_not_wait(cluster: FakeCluster, leader: MemoryPeer, wanted: ByteRange) -> None:
    async with cluster.mirror(wait_s=WAIT_S) as here:
        assert await reason_of(asking(here, wanted)) is Reason.NOT_FOUND
    assert cluster.resolver.queries[0].wait_s == 0


async def test_nobody_waits_unless_it_is_set(cluster: FakeCluster, leader: MemoryPeer) -> None:
    async with cluster.mirror() as here:
        assert await reason_of(asking(here)) is Reason.NOT_FOUND


async def test_stopping_ends_all_waits_and_lets_none_begin(cluster: FakeCluster, leader: MemoryPeer) -> None:
    clock = asyncio.get_running_loop().time
    async with cluster.mirror(wait_s=WAIT_S) as here:
        waiting = [asking(here) for _ in range(3)]
        await asyncio.sleep(5)
        stopped = clock()
        here.mirror.stop_waiting()
        assert [await reason_of(asked) for asked in waiting] == [Reason.TIMEOUT] * 3
        assert await reason_of(asking(here)) is Reason.NOT_FOUND
        assert clock() == stopped
        assert here.blobs.to_clients() == 0


async def test_a_router_that_hangs_costs_no_more_than_without_waiting(cluster: FakeCluster) -> None:
    cluster.router.answers_after_s = 1000
    clock = asyncio.get_running_loop().time
    async with cluster.mirror(wait_s=WAIT_S) as here:
        began = clock()
        assert await reason_of(asking(here)) is Reason.RESOLVER_UNAVAILABLE
        assert clock() - began < FIRST_BYTE_S
