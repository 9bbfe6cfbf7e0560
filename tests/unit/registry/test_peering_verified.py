"""A blob is fetched and hashed before anything of it is served."""

import pytest

from heliograph_registry.mirror.domain.peer import Resolution
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.errors import NotServed
from heliograph_registry.mirror.peering import Peering
from heliograph_shared.digest import digest_of
from tests.support.fakes.cluster import FakeCluster, blob

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

DATA = bytes(range(256)) * 100
DIGEST = digest_of(DATA)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


async def resolved(peering: Peering) -> Resolution:
    (resolution,) = await peering.resolve([DIGEST])
    return resolution


async def test_the_first_right_copy_is_served_and_a_wrong_one_remembered(cluster: FakeCluster) -> None:
    liar = cluster.node("a", DATA)
    cluster.node("b", DATA)
    liar.put(DATA[::-1], DIGEST)
    peering = cluster.peering()
    verified = await peering.verified(blob(DIGEST), await resolved(peering), frozenset(), cluster.spool)
    assert verified[1] == "b"
    assert await verified[0].read(0, len(DATA)) == DATA
    assert peering.asked_last()["a"] == pytest.approx(3600, abs=5)
    assert cluster.fetched == {"a": len(DATA), "b": len(DATA)}
    verified[0].close()
    assert cluster.leaks() == []


async def test_wrong_bytes_are_blamed_on_who_sent_them(cluster: FakeCluster) -> None:
    """Where a request tries one peer, and this one is down."""
    cluster.node("a", DATA).down = True
    cluster.node("b", DATA).put(DATA[::-1], DIGEST)
    peering = cluster.peering(attempts=1)
    with pytest.raises(NotServed):
        await peering.verified(blob(DIGEST), await resolved(peering), frozenset(), cluster.spool)
    assert cluster.fetched == {"b": len(DATA)}
    assert peering.asked_last()["b"] == pytest.approx(3600, abs=5)


async def test_suspects_are_asked_last(cluster: FakeCluster) -> None:
    suspect, other = cluster.node("a", DATA), cluster.node("b", DATA)
    peering = cluster.peering()
    suspects = frozenset({"a"})
    copy, node = await peering.verified(blob(DIGEST), await resolved(peering), suspects, cluster.spool)
    assert (node, suspect.asked) == ("b", [])
    assert len(other.asked) == 1
    copy.close()


async def test_a_peer_that_breaks_off_is_followed_by_the_next(cluster: FakeCluster) -> None:
    breaking = cluster.node("a", DATA)
    cluster.node("b", DATA)
    breaking.breaks_after, breaking.piece_bytes = [1000], 1000
    peering = cluster.peering()
    copy, node = await peering.verified(blob(DIGEST), await resolved(peering), frozenset(), cluster.spool)
    assert node == "b"
    copy.close()
    assert "a" in peering.asked_last()
    assert cluster.leaks() == []


async def test_without_a_right_copy_nothing_is_served(cluster: FakeCluster) -> None:
    for name in "ab":
        cluster.node(name, DATA).put(DATA[::-1], DIGEST)
    peering = cluster.peering()
    with pytest.raises(NotServed) as raised:
        await peering.verified(blob(DIGEST), await resolved(peering), frozenset(), cluster.spool)
    assert raised.value.reason is Reason.NOT_VERIFIED
    assert cluster.leaks() == []


async def test_without_room_nothing_is_served(cluster: FakeCluster) -> None:
    nodes = [cluster.node(name, DATA) for name in "ab"]
    cluster.spool.room_bytes = 10
    peering = cluster.peering()
    with pytest.raises(NotServed) as raised:
        await peering.verified(blob(DIGEST), await resolved(peering), frozenset(), cluster.spool)
    assert raised.value.reason is Reason.NOT_VERIFIED
    assert [len(node.asked) for node in nodes] == [1, 0]
    assert cluster.leaks() == []


async def test_a_repeat_is_hashed_from_a_holder_that_the_router_had_not_named(cluster: FakeCluster) -> None:
    for name in ("a", "b", "c"):
        cluster.node(name, DATA).down = True
    cluster.node("d", DATA)
    peering = cluster.peering()
    suspects = frozenset({"z"})
    spooled, node = await peering.verified(blob(DIGEST), await resolved(peering), suspects, cluster.spool)
    assert (node, await spooled.read(0, len(DATA))) == ("d", DATA)
    spooled.close()
    assert cluster.leaks() == []
