"""Whom to ask for content, in which order, and what to remember of each."""

import asyncio
import json

import pytest

from heliograph_registry.mirror.domain.peer import Outcome, Peer, Resolution
from heliograph_registry.mirror.domain.ranges import ByteRange, Span
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.target import ManifestByDigest
from heliograph_registry.mirror.errors import NotServed, PeerFailed, RangeNotSatisfiable
from heliograph_registry.mirror.peering import Peering
from heliograph_registry.mirror.ports import PeerStream
from heliograph_shared.digest import Digest, digest_of
from tests.support.fakes.cluster import HERE, NAME, FakeCluster, blob
from tests.support.fakes.peers import MemoryPeer

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

DATA = bytes(range(256)) * 100
DIGEST = digest_of(DATA)
MANIFEST = json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode()


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


async def resolved(peering: Peering, digest: Digest = DIGEST) -> Resolution:
    (resolution,) = await peering.resolve([digest])
    return resolution


async def body(stream: PeerStream) -> bytes:
    received = bytearray()
    while piece := await stream.read():
        received += piece
    stream.close()
    return bytes(received)


async def not_served(peering: Peering, resolution: Resolution) -> Reason:
    with pytest.raises(NotServed) as raised:
        await peering.open(blob(DIGEST), None, resolution)
    return raised.value.reason


async def test_the_first_peer_delivers(cluster: FakeCluster) -> None:
    first, second = cluster.node("a", DATA), cluster.node("b", DATA)
    peering = cluster.peering()
    peer, stream = await peering.open(blob(DIGEST), None, await resolved(peering))
    assert (peer.node, await body(stream)) == ("a", DATA)
    assert (len(first.asked), len(second.asked)) == (1, 0)


async def test_the_next_is_asked_at_once_when_one_fails(cluster: FakeCluster) -> None:
    down, good = cluster.node("a", DATA), cluster.node("b", DATA)
    down.down = True
    peering = cluster.peering()
    began = asyncio.get_running_loop().time()
    peer, stream = await peering.open(blob(DIGEST), ByteRange(5, 9), await resolved(peering))
    assert asyncio.get_running_loop().time() == began
    assert (peer, await body(stream)) == (good.peer, DATA[5:10])


async def test_holders_beyond_those_that_the_router_named_are_asked(cluster: FakeCluster) -> None:
    for name in ("a", "b", "c"):
        cluster.node(name, DATA).down = True
    good = cluster.node("d", DATA)
    peering = cluster.peering()
    peer, stream = await peering.open(blob(DIGEST), None, await resolved(peering))
    assert (peer, await body(stream)) == (good.peer, DATA)


async def test_a_slow_peer_is_hedged_and_its_late_answer_is_closed(cluster: FakeCluster) -> None:
    slow, good = cluster.node("a", DATA), cluster.node("b", DATA)
    slow.answers_after_s, good.answers_after_s = 0.06, 0.02
    peering = cluster.peering()
    began = asyncio.get_running_loop().time()
    peer, stream = await peering.open(blob(DIGEST), None, await resolved(peering))
    took_s = asyncio.get_running_loop().time() - began
    assert len(slow.asked) == 1
    assert peer.node == "a"  # asked 50 ms before the other, so 60 ms is still the earlier answer
    assert took_s == pytest.approx(0.06, abs=0.001)
    stream.close()
    await asyncio.sleep(1)
    assert cluster.leaks() == []


async def test_of_two_answers_at_the_same_time_one_is_closed(cluster: FakeCluster) -> None:
    first, second = cluster.node("a", DATA), cluster.node("b", DATA)
    first.answers_after_s, second.answers_after_s = 0.0625, 0.0125  # the second is asked after 50 ms
    peering = cluster.peering()
    _, stream = await peering.open(blob(DIGEST), None, await resolved(peering))
    assert (len(first.asked), len(second.asked)) == (1, 1)
    stream.close()
    assert cluster.leaks() == []


async def test_the_hedged_attempt_wins_where_the_first_hangs(cluster: FakeCluster) -> None:
    hanging = cluster.node("a", DATA)
    hanging.hangs = True
    cluster.node("b", DATA)
    peering = cluster.peering()
    began = asyncio.get_running_loop().time()
    peer, stream = await peering.open(blob(DIGEST), None, await resolved(peering))
    assert asyncio.get_running_loop().time() - began == pytest.approx(0.05, abs=0.001)
    assert peer.node == "b"
    stream.close()


async def test_no_more_than_twice_the_attempts_are_asked_each_once(cluster: FakeCluster) -> None:
    nodes = [cluster.node(name, DATA) for name in "abcde"]
    for node in nodes:
        node.busy = True
    peering = cluster.peering(attempts=2)
    assert await not_served(peering, await resolved(peering)) is Reason.PEERS_FAILED
    assert [len(node.asked) for node in nodes] == [1, 1, 1, 1, 0]


async def test_this_node_and_its_addresses_are_never_asked(cluster: FakeCluster) -> None:
    peering = cluster.peering()
    own = Peer("alias", (f"{HERE}:5000",))
    only_own = Resolution(Outcome.FOUND, DIGEST, (Peer(HERE, ("x:5000",)), own))
    assert peering.order(only_own) == ()
    assert await not_served(peering, only_own) is Reason.NOT_FOUND
    both = Peer("a", (f"{HERE}:5000", "a:5000"))
    assert peering.order(Resolution(Outcome.FOUND, DIGEST, (both,))) == (Peer("a", ("a:5000",)),)


async def test_one_that_failed_is_asked_last_and_named_to_the_router(cluster: FakeCluster) -> None:
    down = cluster.node("a", DATA)
    cluster.node("b", DATA)
    down.down = True
    peering = cluster.peering()
    before = await resolved(peering)
    (await peering.open(blob(DIGEST), None, before))[1].close()
    down.down = False
    assert [peer.node for peer in peering.order(before)] == ["b", "a"]
    assert list(peering.asked_last()) == ["a"]
    await resolved(peering)
    assert cluster.resolver.queries[-1].failed == ("a",)


async def test_a_peer_that_is_well_and_has_it_not_keeps_its_place(cluster: FakeCluster) -> None:
    without, _ = cluster.node("a", DATA), cluster.node("b", DATA)
    without.content.clear()
    peering = cluster.peering()
    resolution = await resolved(peering)
    (await peering.open(blob(DIGEST), None, resolution))[1].close()
    assert [peer.node for peer in peering.order(resolution)] == ["a", "b"]
    assert peering.asked_last() == {}


async def test_a_peer_that_delivers_again_is_asked_first_again(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    peering = cluster.peering()
    peering.failed(PeerFailed("a", "connection reset"))
    assert "a" in peering.asked_last()
    (await peering.open(blob(DIGEST), None, await resolved(peering)))[1].close()
    assert peering.asked_last() == {}


@pytest.mark.parametrize("wrong", [b"", DATA[:-1], DATA + b"!"])
async def test_a_peer_whose_blob_has_another_size_is_passed_over(cluster: FakeCluster, wrong: bytes) -> None:
    bad = cluster.node("a", DATA)
    cluster.node("b", DATA)
    bad.put(wrong, DIGEST)
    peering = cluster.peering()
    peer, stream = await peering.open(blob(DIGEST), None, await resolved(peering))
    assert (peer.node, await body(stream)) == ("b", DATA)
    assert await peering.size_of(blob(DIGEST), await resolved(peering)) == (len(DATA), "b")
    assert cluster.leaks() == []


async def test_where_the_size_is_unknown_only_an_empty_blob_is_refused(cluster: FakeCluster) -> None:
    empty, other = cluster.node("a"), cluster.node("b")
    for node in (empty, other):
        cluster.announce(node, DATA, size_known=False)
    empty.put(b"", DIGEST)
    other.put(b"of any size", DIGEST)
    peering = cluster.peering()
    assert await peering.size_of(blob(DIGEST), await resolved(peering)) == (11, "b")


async def test_a_nodes_wrong_announcement_is_nobody_elses_fault(cluster: FakeCluster) -> None:
    """Before, the last announced size counted for all nodes, and honest ones were refused and asked last."""
    for node in ("a", "c"):
        cluster.node(node, DATA)
    cluster.node("b", DATA)
    cluster.router.holds("b", DIGEST, 7)
    peering = cluster.peering()
    for _ in range(3):
        peer, stream = await peering.open(blob(DIGEST), None, await resolved(peering))
        assert (peer.node in {"a", "c"}, await body(stream)) == (True, DATA)
    assert peering.asked_last() == {}
    assert cluster.leaks() == []


async def test_a_peer_that_contradicts_its_announcement_is_passed_over_without_blame(
    cluster: FakeCluster,
) -> None:
    cluster.node("a", DATA)
    cluster.router.holds("a", DIGEST, 7)
    cluster.node("b", DATA)
    peering = cluster.peering()
    assert await peering.size_of(blob(DIGEST), await resolved(peering)) == (len(DATA), "b")
    assert peering.asked_last() == {}


async def test_an_empty_blob_by_its_own_digest_is_right(cluster: FakeCluster) -> None:
    cluster.node("a", b"")
    peering = cluster.peering()
    empty = digest_of(b"")
    _, stream = await peering.open(blob(empty), None, await resolved(peering, empty))
    assert await body(stream) == b""


async def test_a_range_beyond_the_end_ends_the_race_when_the_size_is_right(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    other = cluster.node("b", DATA)
    peering = cluster.peering()
    with pytest.raises(RangeNotSatisfiable) as raised:
        await peering.open(blob(DIGEST), ByteRange(len(DATA), None), await resolved(peering))
    assert raised.value.size_bytes == len(DATA)
    assert other.asked == []


async def test_a_range_beyond_the_end_of_a_wrong_size_is_a_failure(cluster: FakeCluster) -> None:
    short = cluster.node("a", DATA)
    short.put(DATA[:10], DIGEST)
    cluster.node("b", DATA)
    peering = cluster.peering()
    peer, stream = await peering.open(blob(DIGEST), ByteRange(100, 199), await resolved(peering))
    assert (peer.node, await body(stream)) == ("b", DATA[100:200])


async def test_no_router_is_told_apart_from_nobody(cluster: FakeCluster) -> None:
    peering = cluster.peering()
    assert (await resolved(peering)).outcome is Outcome.NOT_FOUND
    cluster.router.down = "UNAVAILABLE"
    with pytest.raises(NotServed) as raised:
        await resolved(peering)
    assert raised.value.reason is Reason.RESOLVER_UNAVAILABLE


async def test_a_manifest_is_verified_and_counted(cluster: FakeCluster) -> None:
    cluster.node("a", MANIFEST)
    peering = cluster.peering()
    target = ManifestByDigest(NAME, digest_of(MANIFEST))
    manifest, node = await peering.manifest(target, await resolved(peering, target.digest))
    assert (manifest.body, node) == (MANIFEST, "a")
    assert cluster.fetched == {"a": len(MANIFEST)}
    assert cluster.leaks() == []


async def test_a_peer_that_sends_a_wrong_manifest_is_asked_last_for_an_hour(cluster: FakeCluster) -> None:
    liar = cluster.node("a", MANIFEST)
    cluster.node("b", MANIFEST)
    target = ManifestByDigest(NAME, digest_of(MANIFEST))
    liar.put(MANIFEST.replace(b"2", b"3"), target.digest)
    peering = cluster.peering()
    _, node = await peering.manifest(target, await resolved(peering, target.digest))
    assert node == "b"
    assert peering.asked_last()["a"] == pytest.approx(3600, abs=5)


async def test_too_large_a_manifest_is_not_read(cluster: FakeCluster) -> None:
    huge = bytes((4 << 20) + 1)
    cluster.node("a", huge)
    peering = cluster.peering()
    target = ManifestByDigest(NAME, digest_of(huge))
    with pytest.raises(NotServed) as raised:
        await peering.manifest(target, await resolved(peering, target.digest))
    assert raised.value.reason is Reason.NOT_A_MANIFEST
    assert (cluster.fetched, cluster.leaks()) == ({}, [])


# --- going on at another peer ---------------------------------------------------------------------
SPAN = Span(0, len(DATA) - 1, len(DATA))


def asked_from(node: MemoryPeer) -> list[int | None]:
    return [wanted.first if wanted else None for _, wanted in node.asked]


async def test_the_rest_comes_from_a_peer_that_was_not_tried_yet(cluster: FakeCluster) -> None:
    failed, untried = cluster.node("a", DATA), cluster.node("b", DATA)
    peering = cluster.peering()
    resolution = await resolved(peering)
    peer, stream = await peering.resume(blob(DIGEST), SPAN, resolution, 1000, (failed.peer,))
    assert (peer, await body(stream)) == (untried.peer, DATA[1000:])
    assert asked_from(failed) == []
    assert len(cluster.resolver.queries) == 1  # nobody was asked anew


async def test_only_the_rest_of_the_span_is_asked_for(cluster: FakeCluster) -> None:
    failed, untried = cluster.node("a", DATA), cluster.node("b", DATA)
    peering = cluster.peering()
    span = Span(10, 99, len(DATA))
    _, stream = await peering.resume(blob(DIGEST), span, await resolved(peering), 50, (failed.peer,))
    assert await body(stream) == DATA[50:100]
    assert untried.asked[0][1] == ByteRange(50, 99)


async def test_the_router_is_asked_anew_when_all_have_been_tried(cluster: FakeCluster) -> None:
    failed = cluster.node("a", DATA)
    peering = cluster.peering()
    resolution = await resolved(peering)
    late = cluster.node("b", DATA)
    peer, stream = await peering.resume(blob(DIGEST), SPAN, resolution, 1000, (failed.peer,))
    assert (peer, await body(stream)) == (late.peer, DATA[1000:])
    assert cluster.resolver.queries[-1].failed == ("a",)


async def test_one_that_failed_once_is_asked_again_after_all_others(cluster: FakeCluster) -> None:
    failed, busy = cluster.node("a", DATA), cluster.node("b", DATA)
    busy.busy = True
    peering = cluster.peering()
    peer, stream = await peering.resume(blob(DIGEST), SPAN, await resolved(peering), 5, (failed.peer,))
    assert (peer, await body(stream)) == (failed.peer, DATA[5:])
    assert set(cluster.resolver.queries[-1].failed) == {"a", "b"}
    assert len(busy.asked) == 1


async def test_one_that_failed_twice_is_not_asked_again(cluster: FakeCluster) -> None:
    failed = cluster.node("a", DATA)
    peering = cluster.peering()
    resolution = await resolved(peering)
    with pytest.raises(NotServed) as raised:
        await peering.resume(blob(DIGEST), SPAN, resolution, 5, (failed.peer, failed.peer))
    assert raised.value.reason is Reason.NOT_FOUND
    assert asked_from(failed) == []


async def test_a_blob_that_changed_its_size_does_not_go_on(cluster: FakeCluster) -> None:
    failed, other = cluster.node("a"), cluster.node("b")
    for node in (failed, other):
        cluster.announce(node, DATA, size_known=False)
    other.put(DATA + b"more", DIGEST)
    peering = cluster.peering()
    resolution = await resolved(peering)
    with pytest.raises(NotServed):
        await peering.resume(blob(DIGEST), SPAN, resolution, 5, (failed.peer, failed.peer))
    assert cluster.leaks() == []


async def test_peers_that_hang_are_given_up_after_two_seconds_each_way(cluster: FakeCluster) -> None:
    failed, hanging = cluster.node("a", DATA), cluster.node("b", DATA)
    hanging.hangs = failed.hangs = True
    peering = cluster.peering()
    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await peering.resume(blob(DIGEST), SPAN, await resolved(peering), 5, (failed.peer,))
    assert asyncio.get_running_loop().time() - began == pytest.approx(4.0, abs=0.01)
