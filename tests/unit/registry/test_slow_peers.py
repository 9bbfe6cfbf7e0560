"""Blobs while a peer is slow or silent: another one takes over soon, but only one that delivers more."""

import asyncio

import pytest

from heliograph_registry.mirror.domain.ranges import Span
from heliograph_registry.mirror.errors import StreamBroken
from heliograph_registry.mirror.ports import LocalBlob, PeerStream
from heliograph_shared.digest import digest_of
from tests.support.fakes.cluster import FakeCluster, FakeMirror, blob, delivered
from tests.support.fakes.peers import MemoryPeer

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

DATA = bytes(range(256)) * 4000
DIGEST = digest_of(DATA)
DRIP_BYTES_S = 1200


def slow_peer(cluster: FakeCluster, name: str, bytes_s: float, *, data: bytes = DATA) -> MemoryPeer:
    """After its first piece it sends four times per second."""
    peer = cluster.node(name, data)
    peer.bytes_s, peer.piece_bytes = bytes_s, min(64 << 10, max(1, int(bytes_s / 4)))
    return peer


async def pulled(here: FakeMirror, data: bytes = DATA) -> float:
    """The seconds that a pull takes. All bytes must be right."""
    clock = asyncio.get_running_loop().time
    began = clock()
    received = await delivered(await here.blobs.get(blob(digest_of(data)), None, from_peer=False))
    assert received == data
    return clock() - began


async def test_a_peer_that_stalls_in_mid_blob_costs_less_than_three_seconds() -> None:
    cluster = FakeCluster()
    cluster.node("stalls", DATA).stalls = True
    cluster.node("fast", DATA)
    async with cluster.mirror() as here:
        assert await pulled(here) < 3
    assert set(cluster.fetched) == {"stalls", "fast"}


@pytest.mark.parametrize("bytes_s", [50, 1200, 100_000])
async def test_a_peer_that_drips_costs_less_than_ten_seconds(bytes_s: float) -> None:
    cluster = FakeCluster()
    slow_peer(cluster, "drips", bytes_s)
    cluster.node("fast", DATA)
    async with cluster.mirror() as here:
        assert await pulled(here) < 10
    assert cluster.fetched["fast"] > len(DATA) / 2
    assert cluster.leaks() == []


async def test_the_next_blob_comes_from_the_fast_peer_at_once() -> None:
    cluster, more = FakeCluster(), DATA[::-1]
    drips, fast = slow_peer(cluster, "drips", DRIP_BYTES_S), cluster.node("fast", DATA)
    cluster.announce(drips, more)
    cluster.announce(fast, more)
    async with cluster.mirror() as here:
        await pulled(here)
        assert await pulled(here, more) < 0.1


@pytest.mark.parametrize("bytes_s", [20_000, 150_000, 500_000])
async def test_the_only_holder_is_kept_however_slow_it_is(bytes_s: float) -> None:
    cluster = FakeCluster()
    peer = slow_peer(cluster, "only", bytes_s)
    async with cluster.mirror() as here:
        assert await pulled(here) == pytest.approx(len(DATA) / bytes_s, rel=0.1, abs=0.5)
    assert set(cluster.fetched) == {"only"}
    assert len(peer.asked) == 1


async def test_a_slow_holder_is_kept_while_the_others_do_not_answer() -> None:
    cluster = FakeCluster()
    slow_peer(cluster, "slow", 20_000)
    cluster.node("down", DATA)
    cluster.node("hangs", DATA)
    async with cluster.mirror() as here:
        getting = asyncio.create_task(pulled(here))
        await asyncio.sleep(0.01)
        for peer in ("down", "hangs"):
            cluster.peers.remove(f"{peer}:5000")
        cluster.peers.add(MemoryPeer("hangs", "hangs:5000", hangs=True))
        assert await getting < len(DATA) / 20_000 * 1.3
    assert cluster.leaks() == []


@pytest.mark.parametrize("bytes_s", [3_000, 60_000])
async def test_in_a_slow_cluster_a_blob_changes_its_peer_once_at_most(bytes_s: float) -> None:
    """All are equally slow, which only shows after two have been tried."""
    cluster, small = FakeCluster(), DATA[: int(bytes_s * 30)]
    peers = [slow_peer(cluster, f"n{number}", bytes_s, data=small) for number in range(3)]
    async with cluster.mirror() as here:
        assert await pulled(here, small) < 35
    assert sum(len(peer.asked) for peer in peers) <= 2


async def test_transfers_that_share_one_line_do_not_leave_it() -> None:
    """Twenty through 10 MB/s, while another peer delivered a single one at 100 MB/s."""
    cluster = FakeCluster()
    blobs = [DATA[number:] + DATA * 4 for number in range(20)]
    shared, idle = slow_peer(cluster, "shared", 10_000_000 / 20), cluster.node("idle")
    for data in blobs:
        cluster.announce(shared, data)
        cluster.announce(idle, data)
    cluster.throughput.begin("idle", 0.0)
    cluster.throughput.end("idle", 100_000_000, 1.0, 0.0)
    async with cluster.mirror(transfers=32) as here:
        assert max(await asyncio.gather(*(pulled(here, data) for data in blobs))) > 9
    assert set(cluster.fetched) == {"shared"}


async def test_a_slow_client_is_not_the_peers_fault() -> None:
    cluster = FakeCluster()
    first, second = cluster.node("first", DATA), cluster.node("second", DATA)
    first.piece_bytes = 20_000

    async with cluster.mirror() as here:
        answer = await here.blobs.get(blob(DIGEST), None, from_peer=False)
        assert answer.body is not None
        outlet = SlowOutlet()
        await answer.body.deliver(outlet)
        answer.close()
    assert bytes(outlet.received) == DATA
    assert second.asked == []


async def test_a_peer_that_stalls_without_another_holder_ends_the_answer_after_its_time() -> None:
    cluster = FakeCluster()
    cluster.node("only", DATA).stalls = True
    clock = asyncio.get_running_loop().time
    async with cluster.mirror() as here:
        began = clock()
        with pytest.raises(StreamBroken):
            await delivered(await here.blobs.get(blob(DIGEST), None, from_peer=False))
        assert clock() - began < 25


async def test_a_repeat_is_not_hashed_from_a_peer_that_drips() -> None:
    cluster = FakeCluster()
    slow_peer(cluster, "drips", DRIP_BYTES_S)
    fast = cluster.node("fast", DATA)
    async with cluster.mirror() as here:
        (resolution,) = await here.peering.resolve([DIGEST])
        clock = asyncio.get_running_loop().time
        began = clock()
        _, node = await here.peering.verified(blob(DIGEST), resolution, frozenset(), cluster.spool)
        assert (node, clock() - began < 10) == ("fast", True)
    assert len(fast.asked) == 1


async def test_a_repeat_is_hashed_from_the_only_holder_however_slow_it_is() -> None:
    cluster = FakeCluster()
    slow_peer(cluster, "only", 100_000)
    async with cluster.mirror() as here:
        (resolution,) = await here.peering.resolve([DIGEST])
        blob_of_it, node = await here.peering.verified(blob(DIGEST), resolution, frozenset(), cluster.spool)
        blob_of_it.close()
    assert (node, cluster.leaks()) == ("only", [])


class SlowOutlet:
    """Takes a piece every 5 s."""

    def __init__(self) -> None:
        self.received = bytearray()

    @property
    def sent_bytes(self) -> int:
        return len(self.received)

    async def write(self, piece: bytes) -> None:
        await asyncio.sleep(5)
        self.received += piece

    async def send_file(self, blob: LocalBlob, span: Span) -> None:
        raise AssertionError("nothing is local")

    async def relay(self, stream: PeerStream) -> None:
        while piece := await stream.read(64 << 10):
            await self.write(piece)
