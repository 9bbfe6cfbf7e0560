"""Nodes ask for content that nobody holds: a few go upstream, the others wait for their copies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from heliograph_shared.digest import digest_of
from heliograph_shared.rpc import resolver_pb2 as pb
from tests.integration.router_support import (
    LEASE_S,
    BusNode,
    RouterClient,
    living_node,
    router_process,
    serving_router,
)
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

A, B = digest_of(b"a"), digest_of(b"b")


class Waiters:
    """Nodes, and the calls they make to a router."""

    def __init__(self, router: RouterClient, nodes: list[BusNode]) -> None:
        self.router, self.nodes = router, nodes

    async def asks(self, number: int, digest: str = A, wait_ms: int = 20_000) -> asyncio.Task[Any]:
        """Make a call for a node; returns once the router has answered it or holds it waiting."""
        before = await self._waiting()
        call = asyncio.create_task(self.router.wait(digest, self.nodes[number].name, wait_ms))

        async def taken() -> bool:
            return call.done() or await self._waiting() > before

        await eventually(taken, interval=0.02)
        return call

    async def _waiting(self) -> float:
        return (await self.router.metrics())["heliograph_router_resolves_waiting"]


@pytest.fixture
async def waiters(nats_server: NatsServer) -> AsyncIterator[Waiters]:
    async with AsyncExitStack() as stack:
        router = await stack.enter_async_context(serving_router(nats_server.url))
        nodes = [
            await stack.enter_async_context(living_node(nats_server.url, f"n{number}")) for number in range(5)
        ]
        await router.ready()
        await all_live(router, nodes)
        yield Waiters(router, nodes)


async def all_live(router: RouterClient, nodes: list[BusNode]) -> None:
    async def known() -> bool:
        return {node.name for node in nodes} <= await router.node_names()

    await eventually(known, 10, "the router does not know the nodes")


async def test_each_holder_serves_two_nodes_at_a_time(waiters: Waiters) -> None:
    waiters.nodes[0].downloading = [A]
    assert (await waiters.router.wait(A, "n0")).status == pb.GO_UPSTREAM
    calls = [await waiters.asks(number) for number in range(1, 5)]
    assert not any(call.done() for call in calls)
    await waiters.nodes[0].change(add=[A])
    await eventually(lambda: sum(call.done() for call in calls) == 2)
    done, waiting = await asyncio.wait(calls, timeout=0.5)
    assert [[peer.node for peer in call.result().peers] for call in done] == [["n0"], ["n0"]]
    await waiters.nodes[1].change(add=[A])
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert all(call.result().status == pb.FOUND for call in calls)


async def test_a_leader_keeps_its_lease_while_it_downloads(waiters: Waiters) -> None:
    leader = waiters.nodes[0]
    leader.downloading = [A]
    assert (await waiters.router.wait(A, leader.name)).status == pb.GO_UPSTREAM
    call = await waiters.asks(1)
    await asyncio.wait([call], timeout=LEASE_S)
    assert not call.done()
    leader.downloading = []
    assert (await asyncio.wait_for(call, LEASE_S)).status == pb.GO_UPSTREAM


async def test_a_leader_that_leaves_is_replaced_at_once(waiters: Waiters) -> None:
    await waiters.router.wait(A, "n0")
    call = await waiters.asks(1)
    await waiters.nodes[0].leave()
    assert (await asyncio.wait_for(call, 10)).status == pb.GO_UPSTREAM


async def test_after_a_timeout_a_node_is_told_to_go_upstream(waiters: Waiters) -> None:
    waiters.nodes[0].downloading = [A]
    await waiters.router.wait(A, "n0")
    assert (await waiters.router.wait(A, "n1", 200)).status == pb.GO_UPSTREAM


async def test_only_known_nodes_wait_and_only_for_one_digest(waiters: Waiters) -> None:
    await waiters.router.wait(A, "n0")
    assert (await waiters.router.wait(A, "stranger")).status == pb.NOT_FOUND
    assert (await waiters.router.wait(A, "")).status == pb.NOT_FOUND
    several = await waiters.router.ask(A, B, node="n1", wait_ms=10_000)
    assert [found.status for found in several] == [pb.NOT_FOUND, pb.NOT_FOUND]
    assert (await waiters.router.wait("reg.test/app:1", "n1")).status == pb.NOT_FOUND
    (without_wait,) = await waiters.router.ask(A, node="n1")
    assert without_wait.status == pb.NOT_FOUND


async def test_a_waiting_call_gets_its_headers_at_once(waiters: Waiters) -> None:
    """Called as a stream, because Python's gRPC shows a unary call's headers only with its answer."""
    waiters.nodes[0].downloading = [A]
    await waiters.router.wait(A, "n0")
    request = pb.ResolveRequest(keys=[pb.Key(digest=A)], node="n1", wait_ms=20_000)
    resolve = waiters.router.channel.unary_stream(
        "/heliograph.resolver.v1.Resolver/Resolve",
        request_serializer=pb.ResolveRequest.SerializeToString,
        response_deserializer=pb.ResolveResponse.FromString,
    )
    call: Any = resolve(request, timeout=20)
    await asyncio.wait_for(call.initial_metadata(), 10)
    assert not call.done()
    call.cancel()


async def test_a_router_that_stops_ends_waiting_calls_as_unavailable(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    async with (
        router_process(tmp_path, nats_server.url) as router,
        living_node(nats_server.url, "n0") as one,
        living_node(nats_server.url, "n1") as two,
    ):
        await router.start()
        await router.ready()
        await all_live(router, [one, two])
        await router.wait(A, "n0")
        call = await Waiters(router, [one, two]).asks(1)
        await router.process.stop()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "Traceback" not in router.log
