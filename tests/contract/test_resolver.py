"""What the registry may expect of its resolver, of the tests' fake router and of the real one alike."""

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
from tests.integration.router_support import living_node, serving_router
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.resolver import KnownContent, serve_resolver

HELD, TAGGED, UNKNOWN = digest_of(b"held"), digest_of(b"tagged"), digest_of(b"unknown")
TAG = "reg.test/app:1"

Holds = Callable[[str, str, Digest, str | None], Awaitable[None]]


@dataclass
class World:
    """`holds` makes a node (name, address) hold a digest, under a tag where one is given."""

    resolver: Resolver
    holds: Holds
    directory: RouterQueries


@pytest.fixture(params=["fake", pytest.param("router", marks=pytest.mark.processes)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
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
            nats_server = await stack.enter_async_context(NatsServer(tmp_path))
            router = await stack.enter_async_context(serving_router(nats_server.url))
            await router.ready()
            port = router.port

            async def holds(node: str, address: str, digest: Digest, tag: str | None) -> None:
                living = living_node(nats_server.url, node, addresses=[address])
                here = await stack.enter_async_context(living)
                await here.change(add=[digest], tag={tag: digest} if tag else {})
                await router.knows(digest, node)

        opened = open_resolver(
            f"dns:///127.0.0.1:{port}", node="asker", zone="", max_peers=3, metrics=RegistryMetrics()
        )
        resolver = await stack.enter_async_context(opened)
        yield World(resolver, holds, GrpcRouterQueries(lambda: resolver.channel))


async def test_a_digest_is_found_at_its_holder(world: World) -> None:
    await world.holds("a", "127.0.0.1:1000", HELD, None)
    (found,) = await world.resolver.resolve([HELD], timeout_s=5)
    assert (found.outcome, found.digest, found.size_bytes) == (Outcome.FOUND, HELD, 100)
    assert found.peers == (Peer("a", ("127.0.0.1:1000",)),)


async def test_a_tag_is_found_with_its_digest(world: World) -> None:
    await world.holds("a", "127.0.0.1:1000", TAGGED, TAG)
    (found,) = await world.resolver.resolve([TAG], timeout_s=5)
    assert (found.outcome, found.digest) == (Outcome.FOUND, TAGGED)
    assert [peer.node for peer in found.peers] == ["a"]


async def test_what_only_the_asker_holds_has_no_peers(world: World) -> None:
    await world.holds("asker", "127.0.0.1:1000", TAGGED, TAG)
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


async def test_people_are_told_of_nodes_and_tags(world: World) -> None:
    await world.holds("a", "127.0.0.1:1000", TAGGED, TAG)
    await world.holds("b", "127.0.0.1:2000", HELD, "reg.test/other:2")
    await world.directory.ping()
    nodes = {node.node: node for node in await world.directory.nodes()}
    assert (nodes["a"].addresses, nodes["a"].digests) == (("127.0.0.1:1000",), 1)
    assert nodes["a"].lease_left_s > 0
    every = await world.directory.tags("", 100)
    assert every.tags == (ClusterTag(TAG, TAGGED, 1), ClusterTag("reg.test/other:2", HELD, 1))
    one = await world.directory.tags("", 1)
    assert (len(one.tags), one.found) == (1, 2)
    assert [tag.reference for tag in (await world.directory.tags("other", 9)).tags] == ["reg.test/other:2"]


async def test_the_asker_too_is_named_among_the_holders(world: World) -> None:
    await world.holds("asker", "127.0.0.1:1000", HELD, None)
    await world.holds("a", "127.0.0.1:2000", TAGGED, None)
    assert await world.directory.holders([HELD, UNKNOWN, TAGGED], 9) == [("asker",), (), ("a",)]


async def test_nobody_listening_tells_people_nothing() -> None:
    opened = open_resolver(
        f"dns:///127.0.0.1:{free_port()}", node="n", zone="", max_peers=3, metrics=RegistryMetrics()
    )
    async with opened as resolver:
        with pytest.raises(ResolverUnavailable, match=r"UNAVAILABLE|DEADLINE"):
            await GrpcRouterQueries(lambda: resolver.channel).ping()


async def test_nobody_listening_is_unavailable_and_then_left_alone() -> None:
    async with open_resolver(
        f"dns:///127.0.0.1:{free_port()}", node="n", zone="", max_peers=3, metrics=RegistryMetrics()
    ) as resolver:
        with pytest.raises(ResolverUnavailable, match=r"UNAVAILABLE|DEADLINE"):
            await resolver.resolve([HELD], timeout_s=1)
        async with asyncio.timeout(0.5):
            with pytest.raises(ResolverUnavailable, match="not asked again"):
                await resolver.resolve([HELD], timeout_s=60)
