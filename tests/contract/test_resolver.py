"""What the registry expects of routers: in memory, the tests' gRPC server and the real service alike."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.adapters.router_client.resolver import open_resolver
from heliograph_registry.debug.adapters.router_queries import GrpcRouterQueries
from heliograph_registry.debug.domain.cluster import ClusterTag
from heliograph_registry.debug.ports import RouterQueries
from heliograph_registry.mirror.domain.peer import Outcome, Peer
from heliograph_registry.mirror.errors import ResolverUnavailable
from heliograph_registry.mirror.ports import Resolver
from heliograph_shared.digest import Digest, digest_of
from tests.integration.router_support import BusNode, RouterClient, living_node, serving_router
from tests.support.fakes.router import MemoryResolver, MemoryRouter, MemoryRouterQueries
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.resolver import KnownContent, serve_resolver

HELD, TAGGED, UNKNOWN = digest_of(b"held"), digest_of(b"tagged"), digest_of(b"unknown")
TAG = "reg.test/app:1"
ROUTER = pytest.param("router", marks=pytest.mark.processes)

Holds = Callable[[str, str, Digest, str | None], Awaitable[None]]


@dataclass
class World:
    """`holds` makes a node (name, address) hold a digest, under a tag where one is given."""

    resolver: Resolver
    holds: Holds
    router_queries: RouterQueries


@pytest.fixture(params=["memory", "fake", ROUTER])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "memory":
        yield memory_world(MemoryRouter())
        return
    async with AsyncExitStack() as stack:
        holds: Holds
        if request.param == "fake":
            known, port = KnownContent(), free_port()
            await stack.enter_async_context(serve_resolver(known, port))

            async def holds(node: str, address: str, digest: Digest, tag: str | None) -> None:
                known.holds(node, address, digest, 100)
                if tag:
                    known.tags[tag] = digest
        else:
            nats_url = (await stack.enter_async_context(NatsServer(tmp_path))).url
            router = await stack.enter_async_context(serving_router(nats_url))
            await router.ready()
            port, holds = router.port, holding(stack, router, nats_url)
        yield await grpc_world(stack, port, holds)


def memory_world(router: MemoryRouter) -> World:
    async def holds(node: str, address: str, digest: Digest, tag: str | None) -> None:
        router.add_node(node, address)
        router.holds(node, digest, 100, tag)

    return World(MemoryResolver(router, "requester"), holds, MemoryRouterQueries(router))


async def grpc_world(stack: AsyncExitStack, port: int, holds: Holds, node: str = "requester") -> World:
    opened = open_resolver(
        f"dns:///127.0.0.1:{port}", node=node, zone="", max_peers=3, metrics=RegistryMetrics()
    )
    resolver = await stack.enter_async_context(opened)
    return World(resolver, holds, GrpcRouterQueries(lambda: resolver.channels))


def holding(stack: AsyncExitStack, router: RouterClient, nats_url: str) -> Holds:
    """Nodes on the bus; returns once the router has heard of what they hold."""
    nodes: dict[str, BusNode] = {}

    async def holds(node: str, address: str, digest: Digest, tag: str | None) -> None:
        if node not in nodes:
            living = living_node(nats_url, node, addresses=[address])
            nodes[node] = await stack.enter_async_context(living)
        before = await router.holders(digest)
        await nodes[node].change(add=[digest], tag={tag: digest} if tag else {})
        await router.knows(digest, *before, node)

    return holds


async def test_a_digest_is_found_at_its_holder(world: World) -> None:
    await world.holds("a", "127.0.0.1:1000", HELD, None)
    (found,) = await world.resolver.resolve([HELD], timeout_s=5)
    assert (found.outcome, found.digest) == (Outcome.FOUND, HELD)
    assert found.peers == (Peer("a", ("127.0.0.1:1000",)),)
    assert found.peers[0].size_bytes == 100


async def test_a_tag_is_found_with_its_digest(world: World) -> None:
    await world.holds("a", "127.0.0.1:1000", TAGGED, TAG)
    (found,) = await world.resolver.resolve([TAG], timeout_s=5)
    assert (found.outcome, found.digest) == (Outcome.FOUND, TAGGED)
    assert [peer.node for peer in found.peers] == ["a"]


async def test_what_only_the_asker_holds_has_no_peers(world: World) -> None:
    await world.holds("requester", "127.0.0.1:1000", TAGGED, TAG)
    (by_tag,) = await world.resolver.resolve([TAG], timeout_s=5)
    assert (by_tag.outcome, by_tag.digest, by_tag.peers) == (Outcome.FOUND, TAGGED, ())
    (by_digest,) = await world.resolver.resolve([TAGGED], timeout_s=5)
    assert (by_digest.outcome, by_digest.peers) == (Outcome.NOT_FOUND, ())


async def test_what_nobody_holds_is_not_found(world: World) -> None:
    await world.holds("a", "127.0.0.1:1000", HELD, None)
    for key in (UNKNOWN, "reg.test/other:1"):
        (found,) = await world.resolver.resolve([key], timeout_s=5)
        assert found.outcome is Outcome.NOT_FOUND


async def test_many_keys_are_answered_in_their_order(world: World) -> None:
    await world.holds("a", "127.0.0.1:1000", HELD, None)
    await world.holds("b", "127.0.0.1:2000", TAGGED, TAG)
    found = await world.resolver.resolve([TAG, UNKNOWN, HELD], timeout_s=5)
    assert [one.digest for one in found if one.outcome is Outcome.FOUND] == [TAGGED, HELD]
    assert [[peer.node for peer in one.peers] for one in found] == [["b"], [], ["a"]]


async def test_nodes_that_failed_are_named_last(world: World) -> None:
    for node in ("a", "b", "c"):
        await world.holds(node, f"127.0.0.1:{ord(node)}", HELD, None)
    (found,) = await world.resolver.resolve([HELD], timeout_s=5, failed=["a", "c"])
    assert len(found.peers) == 3
    assert found.peers[0].node == "b"


async def test_at_most_three_peers_are_named(world: World) -> None:
    for node in ("a", "b", "c", "d"):
        await world.holds(node, f"127.0.0.1:{ord(node)}", HELD, None)
    (found,) = await world.resolver.resolve([HELD], timeout_s=5)
    assert len({peer.node for peer in found.peers}) == 3


async def test_people_are_told_of_nodes_and_tags(world: World) -> None:
    await world.holds("a", "127.0.0.1:1000", TAGGED, TAG)
    await world.holds("b", "127.0.0.1:2000", HELD, "reg.test/other:2")
    await world.router_queries.ping()
    nodes = {node.node: node for node in await world.router_queries.nodes()}
    assert (nodes["a"].addresses, nodes["a"].digests) == (("127.0.0.1:1000",), 1)
    assert nodes["a"].lease_left_s > 0
    every = await world.router_queries.tags("", 100)
    assert every.tags == (ClusterTag(TAG, TAGGED, 1), ClusterTag("reg.test/other:2", HELD, 1))
    one = await world.router_queries.tags("", 1)
    assert (len(one.tags), one.found) == (1, 2)
    assert [tag.reference for tag in (await world.router_queries.tags("other", 9)).tags] == [
        "reg.test/other:2"
    ]


async def test_the_asker_too_is_named_among_the_holders(world: World) -> None:
    await world.holds("requester", "127.0.0.1:1000", HELD, None)
    await world.holds("a", "127.0.0.1:2000", TAGGED, None)
    assert await world.router_queries.holders([HELD, UNKNOWN, TAGGED], 9) == [("requester",), (), ("a",)]


@pytest.fixture(params=["memory", "fake", "router"])
async def unsynced(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Routers that answer, and do not know yet what the cluster holds; the real one has no bus."""
    if request.param == "memory":
        router = MemoryRouter()
        router.synced = False
        yield memory_world(router)
        return
    async with AsyncExitStack() as stack:
        port = free_port()
        if request.param == "fake":
            await stack.enter_async_context(serve_resolver(KnownContent(synced=False), port))
        else:
            nowhere = f"nats://127.0.0.1:{free_port()}"
            port = (await stack.enter_async_context(serving_router(nowhere))).port
        yield await grpc_world(stack, port, never_holds)


async def never_holds(node: str, address: str, digest: Digest, tag: str | None) -> None:
    pytest.fail("nothing is announced to a router without a bus")


async def test_a_router_that_is_not_in_sync_does_not_say_that_nobody_holds_it(unsynced: World) -> None:
    found = await unsynced.resolver.resolve([HELD, TAG], timeout_s=5)
    assert [one.outcome for one in found] == [Outcome.NOT_SYNCED] * 2
    assert [one.peers for one in found] == [(), ()]


@dataclass
class WaitingNodes:
    """Two nodes that routers know, so that both may wait; `asks` is the resolver of each by its name."""

    asks: dict[str, Resolver]
    holds: Holds


@pytest.fixture(params=["memory", ROUTER])
async def waiting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[WaitingNodes]:
    names = ("requester", "other")
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            table = MemoryRouter()
            yield WaitingNodes(
                {name: MemoryResolver(table, name) for name in names}, memory_world(table).holds
            )
            return
        nats_url = (await stack.enter_async_context(NatsServer(tmp_path))).url
        router = await stack.enter_async_context(serving_router(nats_url))
        await router.ready()
        holds = holding(stack, router, nats_url)
        for name in names:
            await holds(name, "127.0.0.1:1000", digest_of(name.encode()), None)
        asks = {name: (await grpc_world(stack, router.port, holds, name)).resolver for name in names}
        yield WaitingNodes(asks, holds)


async def test_who_is_the_first_to_want_it_goes_upstream_at_once(waiting: WaitingNodes) -> None:
    async with asyncio.timeout(10):
        (found,) = await waiting.asks["requester"].resolve([UNKNOWN], timeout_s=5, wait_s=60)
    assert (found.outcome, found.peers) == (Outcome.GO_UPSTREAM, ())


async def test_others_wait_for_the_copy_of_the_first(waiting: WaitingNodes) -> None:
    await waiting.asks["other"].resolve([UNKNOWN], timeout_s=5, wait_s=60)
    call = asyncio.create_task(waiting.asks["requester"].resolve([UNKNOWN], timeout_s=5, wait_s=60))
    done, _ = await asyncio.wait([call], timeout=0.2)
    assert not done
    await waiting.holds("other", "127.0.0.1:1000", UNKNOWN, None)
    (found,) = await asyncio.wait_for(call, 10)
    assert (found.outcome, [peer.node for peer in found.peers]) == (Outcome.FOUND, ["other"])


async def test_a_wait_that_runs_out_ends_upstream(waiting: WaitingNodes) -> None:
    await waiting.asks["other"].resolve([UNKNOWN], timeout_s=5, wait_s=60)
    (found,) = await waiting.asks["requester"].resolve([UNKNOWN], timeout_s=5, wait_s=0.1)
    assert found.outcome is Outcome.GO_UPSTREAM


async def test_what_somebody_holds_is_not_waited_for(waiting: WaitingNodes) -> None:
    await waiting.holds("a", "127.0.0.1:1000", HELD, None)
    async with asyncio.timeout(10):
        (found,) = await waiting.asks["requester"].resolve([HELD], timeout_s=5, wait_s=60)
    assert [peer.node for peer in found.peers] == ["a"]


async def test_nobody_listening_is_unavailable_in_memory_too() -> None:
    router = MemoryRouter()
    router.down = "UNAVAILABLE: connection refused"
    with pytest.raises(ResolverUnavailable, match="UNAVAILABLE"):
        await MemoryResolver(router, "n").resolve([HELD], timeout_s=1)
    with pytest.raises(ResolverUnavailable, match="UNAVAILABLE"):
        await MemoryRouterQueries(router).ping()


async def test_nobody_listening_tells_people_nothing() -> None:
    opened = open_resolver(
        f"dns:///127.0.0.1:{free_port()}", node="n", zone="", max_peers=3, metrics=RegistryMetrics()
    )
    async with opened as resolver:
        with pytest.raises(ResolverUnavailable, match=r"UNAVAILABLE|DEADLINE"):
            await GrpcRouterQueries(lambda: resolver.channels).ping()


async def test_nobody_listening_is_unavailable_and_then_left_alone() -> None:
    async with open_resolver(
        f"dns:///127.0.0.1:{free_port()}", node="n", zone="", max_peers=3, metrics=RegistryMetrics()
    ) as resolver:
        with pytest.raises(ResolverUnavailable, match=r"UNAVAILABLE|DEADLINE"):
            await resolver.resolve([HELD], timeout_s=1)
        async with asyncio.timeout(10):
            with pytest.raises(ResolverUnavailable, match="breakers are open"):
                await resolver.resolve([HELD], timeout_s=60)
