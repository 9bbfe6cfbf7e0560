"""Parts of a blob of which one has been sent as 206: containerd 2.1 fails a pull that then gets a 404."""

import asyncio

import pytest

from heliograph_registry.mirror.blobs import BlobAnswer, Blobs
from heliograph_registry.mirror.domain.ranges import ByteRange
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import NOBODY
from heliograph_registry.mirror.errors import Busy, NotServed, StreamBroken
from heliograph_shared.digest import Digest, digest_of
from tests.support.fakes.cluster import FakeCluster, blob, delivered

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

DATA = bytes(range(256)) * 1000
DIGEST = digest_of(DATA)
OTHER = b"another blob"
HALF = len(DATA) // 2
FIRST, SECOND = ByteRange(0, HALF - 1), ByteRange(HALF, None)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


async def get(
    blobs: Blobs, wanted: ByteRange | None = None, *, from_peer: bool = False, digest: Digest = DIGEST
) -> BlobAnswer:
    return await blobs.get(blob(digest), wanted, from_peer=from_peer)


async def refused(blobs: Blobs, wanted: ByteRange) -> Reason:
    with pytest.raises(NotServed) as raised:
        await get(blobs, wanted)
    return raised.value.reason


async def empty_part(answer: BlobAnswer, wanted: ByteRange) -> None:
    """The answer promises the part, and its body ends without a byte."""
    assert (answer.source, answer.partial) == (NOBODY, True)
    assert answer.span == wanted.of(len(DATA))
    with pytest.raises(StreamBroken) as raised:
        await delivered(answer)
    assert raised.value.sent_bytes == 0


async def test_after_a_206_a_part_ends_empty_once_and_is_then_refused(cluster: FakeCluster) -> None:
    """A pull by containerd 2.1 fails on a 404 after a 206, and goes on after a body that ends early."""
    holder = cluster.node("a", DATA)
    async with cluster.mirror() as here:
        assert await delivered(await get(here.blobs, FIRST)) == DATA[:HALF]
        holder.down = True
        await empty_part(await get(here.blobs, SECOND), SECOND)
        assert await refused(here.blobs, SECOND) is Reason.PEERS_FAILED
        assert here.blobs.to_clients() == 0
    assert cluster.leaks() == []


async def test_a_busy_registry_does_not_refuse_a_part_either(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    async with cluster.mirror(transfers=1) as here:
        first = await get(here.blobs, FIRST)
        answer = await get(here.blobs, SECOND)
        assert here.blobs.to_clients() == 1
        ending = asyncio.create_task(empty_part(answer, SECOND))
        await asyncio.sleep(1)
        assert not ending.done()  # not before the earlier part
        assert await delivered(first) == DATA[:HALF]
        await ending
        held = await get(here.blobs, digest=cluster.content.put(OTHER))
        with pytest.raises(Busy):
            await get(here.blobs, SECOND)
        held.close()
        assert here.blobs.to_clients() == 0
    assert cluster.leaks() == []


async def test_a_busy_registry_refuses_a_peer(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    own = cluster.content.put(OTHER)
    async with cluster.mirror(transfers=1) as here:
        await delivered(await get(here.blobs, FIRST))
        held = await get(here.blobs, from_peer=True, digest=own)
        with pytest.raises(Busy):
            await get(here.blobs, SECOND, from_peer=True)
        held.close()


async def test_what_had_no_206_is_refused_at_once(cluster: FakeCluster) -> None:
    async with cluster.mirror() as here:
        assert await refused(here.blobs, SECOND) is Reason.NOT_FOUND
        cluster.node("a", DATA)
        await delivered(await get(here.blobs))  # whole: 200
        cluster.peers.remove("a:5000")
        assert await refused(here.blobs, SECOND) is Reason.PEERS_FAILED
