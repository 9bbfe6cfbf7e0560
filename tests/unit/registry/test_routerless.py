"""Finding content when no router can say where it is."""

import asyncio

import pytest

from heliograph_registry.mirror.domain.peer import Outcome, Peer, Resolution
from heliograph_registry.mirror.errors import ResolverUnavailable
from heliograph_registry.mirror.routerless import RouterlessResolver
from heliograph_shared.digest import Digest, digest_of
from tests.support.fakes.cluster import HERE, FakeCluster
from tests.support.fakes.node import MemoryDiscovery

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

DATA, OTHER = b"content", b"other content"
DIGEST, OTHER_DIGEST = digest_of(DATA), digest_of(OTHER)
TAG = "reg.test/team/app:1"


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def routerless(cluster: FakeCluster, *drawn: str) -> RouterlessResolver:
    """`drawn` are the nodes that DNS names."""
    discovery = MemoryDiscovery(*(f"{node}:5000" for node in drawn))
    return RouterlessResolver(cluster.resolver, cluster.peers, discovery, cluster.facts, node=HERE, ask_s=0.1)


async def resolve(
    resolver: RouterlessResolver, *keys: Digest | str, failed: tuple[str, ...] = ()
) -> list[Resolution]:
    return await resolver.resolve(keys, timeout_s=0.2, failed=failed)


def lose_routers(cluster: FakeCluster) -> None:
    cluster.router.down = "UNAVAILABLE"


async def test_a_router_that_knows_is_believed(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    stranger = cluster.node("b", DATA, OTHER)
    resolver = routerless(cluster, "b")
    (found,) = await resolve(resolver, DIGEST)
    assert [peer.node for peer in found.peers] == ["a", "b"]
    (missing,) = await resolve(resolver, digest_of(b"absent"))
    assert missing.outcome is Outcome.NOT_FOUND
    assert stranger.asked == []


async def test_dns_names_peers_that_are_asked(cluster: FakeCluster) -> None:
    cluster.node("a")
    cluster.node("b", DATA)
    lose_routers(cluster)
    (found,) = await resolve(routerless(cluster, "a", "b"), DIGEST)
    assert found == Resolution(Outcome.FOUND, DIGEST, (Peer("b:5000", ("b:5000",), len(DATA)),))


async def test_peers_are_remembered_from_when_a_router_answered(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    resolver = routerless(cluster)
    await resolve(resolver, DIGEST)
    lose_routers(cluster)
    (found,) = await resolve(resolver, DIGEST)
    assert [peer.node for peer in found.peers] == ["a"]
    assert [peer.node for peer in resolver.remembered(8)] == ["a"]


async def test_nobody_is_believed_for_what_was_true_earlier(cluster: FakeCluster) -> None:
    holder = cluster.node("a", DATA)
    resolver = routerless(cluster)
    await resolve(resolver, DIGEST)
    lose_routers(cluster)
    holder.content.clear()
    with pytest.raises(ResolverUnavailable):
        await resolve(resolver, DIGEST)


async def test_a_node_that_is_remembered_and_named_by_dns_is_asked_once(cluster: FakeCluster) -> None:
    holder = cluster.node("a", DATA)
    resolver = routerless(cluster, "a")
    await resolve(resolver, DIGEST)
    lose_routers(cluster)
    holder.content.clear()
    with pytest.raises(ResolverUnavailable):
        await resolve(resolver, DIGEST)
    assert len(holder.asked) == 1


async def test_a_tag_is_looked_for_too(cluster: FakeCluster) -> None:
    cluster.announce(cluster.node("a"), DATA, TAG)
    lose_routers(cluster)
    (found,) = await resolve(routerless(cluster, "a"), TAG)
    assert (found.outcome, found.digest, found.peers[0].node) == (Outcome.FOUND, DIGEST, "a:5000")


async def test_an_own_tag_is_left_to_the_state_file(cluster: FakeCluster) -> None:
    stranger = cluster.node("a")
    cluster.announce(stranger, DATA, TAG)
    cluster.facts.tags[TAG] = OTHER_DIGEST
    lose_routers(cluster)
    with pytest.raises(ResolverUnavailable):
        await resolve(routerless(cluster, "a"), TAG)
    assert stranger.asked == []


async def test_a_router_that_is_not_in_sync_is_helped_out(cluster: FakeCluster) -> None:
    cluster.node("a").put(DATA)
    cluster.router.synced = False
    (found,) = await resolve(routerless(cluster, "a"), DIGEST)
    assert (found.outcome, found.peers[0].node) == (Outcome.FOUND, "a:5000")
    (missing,) = await resolve(routerless(cluster, "a"), OTHER_DIGEST)
    assert missing.outcome is Outcome.NOT_SYNCED


async def test_many_keys_are_not_looked_for_at_once(cluster: FakeCluster) -> None:
    holder = cluster.node("a", DATA, OTHER)
    lose_routers(cluster)
    with pytest.raises(ResolverUnavailable):
        await resolve(routerless(cluster, "a"), DIGEST, OTHER_DIGEST)
    assert holder.asked == []


async def test_this_node_does_not_ask_itself(cluster: FakeCluster) -> None:
    itself = cluster.node(HERE, DATA)
    lose_routers(cluster)
    with pytest.raises(ResolverUnavailable):
        await resolve(routerless(cluster, HERE), DIGEST)
    assert itself.asked == []


async def test_without_a_name_in_dns_and_a_memory_there_is_nobody_to_ask(cluster: FakeCluster) -> None:
    cluster.node("a", DATA)
    lose_routers(cluster)
    with pytest.raises(ResolverUnavailable):
        await resolve(routerless(cluster), DIGEST)


async def test_at_most_eight_are_asked(cluster: FakeCluster) -> None:
    nodes = [cluster.node(f"n{number}") for number in range(20)]
    lose_routers(cluster)
    with pytest.raises(ResolverUnavailable):
        await resolve(routerless(cluster, *(node.node for node in nodes)), DIGEST)
    assert sum(len(node.asked) for node in nodes) == 8


async def test_those_remembered_are_among_the_eight(cluster: FakeCluster) -> None:
    known = [cluster.node(name, DATA) for name in "abc"]
    nodes = [cluster.node(f"n{number}") for number in range(20)]
    resolver = routerless(cluster, *(node.node for node in nodes))
    await resolve(resolver, DIGEST)
    lose_routers(cluster)
    for node in known:
        node.content.clear()
    with pytest.raises(ResolverUnavailable):
        await resolve(resolver, DIGEST)
    assert [len(node.asked) for node in known] == [1, 1, 1]
    assert sum(len(node.asked) for node in nodes) == 5


async def test_nodes_that_hang_cost_a_tenth_of_a_second(cluster: FakeCluster) -> None:
    names = [f"n{number}" for number in range(8)]
    for name in names:
        cluster.node(name).hangs = True
    lose_routers(cluster)
    clock = asyncio.get_running_loop().time
    began = clock()
    with pytest.raises(ResolverUnavailable):
        await resolve(routerless(cluster, *names), DIGEST)
    assert clock() - began == pytest.approx(0.1, abs=0.001)


async def test_one_that_has_it_is_found_among_those_that_hang(cluster: FakeCluster) -> None:
    names = [f"n{number}" for number in range(7)]
    for name in names:
        cluster.node(name).hangs = True
    cluster.node("a", DATA)
    lose_routers(cluster)
    (found,) = await resolve(routerless(cluster, "a", *names), DIGEST)
    assert found.peers[0].node == "a:5000"


async def test_a_node_that_just_failed_is_asked_last(cluster: FakeCluster) -> None:
    for name in "ab":
        cluster.node(name, DATA)
    resolver = routerless(cluster)
    await resolve(resolver, DIGEST)
    lose_routers(cluster)
    (found,) = await resolve(resolver, DIGEST, failed=("a",))
    assert [peer.node for peer in found.peers] == ["b"]


async def test_a_node_where_nobody_listens_is_asked_last_from_then_on(cluster: FakeCluster) -> None:
    down = cluster.node("a", DATA)
    cluster.node("b", DATA)
    resolver = routerless(cluster)
    await resolve(resolver, DIGEST)
    lose_routers(cluster)
    down.down = True
    for _ in range(2):
        (found,) = await resolve(resolver, DIGEST)
        assert [peer.node for peer in found.peers] == ["b"]
        down.down = False


async def test_what_is_waited_for_is_asked_of_the_routers(cluster: FakeCluster) -> None:
    cluster.router.lead(DIGEST, "leader")
    resolver = routerless(cluster)
    (found,) = await resolver.resolve([DIGEST], timeout_s=0.2, wait_s=5)
    assert found.outcome is Outcome.GO_UPSTREAM
    assert cluster.resolver.queries[0].wait_s == 5


async def test_a_peer_that_had_something_lately_is_asked_first(cluster: FakeCluster) -> None:
    nodes = [cluster.node(f"node-{number}") for number in range(8)]
    nodes[7].put(DATA)
    nodes[7].put(OTHER)
    lose_routers(cluster)
    resolver = routerless(cluster, *(node.node for node in nodes))
    await resolve(resolver, DIGEST)
    for node in nodes:
        node.asked.clear()
    (found,) = await resolve(resolver, OTHER_DIGEST)
    assert [peer.node for peer in found.peers] == ["node-7:5000"]
    assert [node.node for node in nodes if node.asked] == ["node-7"]
