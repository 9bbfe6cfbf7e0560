"""Requests that wait for a blob that another node is fetching, with real routers."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.integration.registry_support import (
    BLOB,
    BLOB_DIGEST,
    BLOB_PATH,
    IMPATIENT,
    MANIFEST_PATH,
    Cluster,
    Registry,
    serve_registry,
)
from tests.integration.router_support import BusNode, RouterProcess, living_node, router_process
from tests.support.nats import NatsServer
from tests.support.ports import free_port
from tests.support.waiting import eventually

WAIT_MS, FIRST_BYTE_MS = 20_000, 3_000


@dataclass
class Site:
    """Two routers and two nodes: `leader`, which both routers sent upstream, and `follower`."""

    routers: list[RouterProcess]
    leader: Registry
    leader_node: BusNode
    follower: Registry

    async def start_request(self, headers: dict[str, str] | None = None) -> asyncio.Task[httpx.Response]:
        """A request to the follower; returns once it waits at a router."""
        request = asyncio.create_task(self.follower.http.get(BLOB_PATH, headers=headers or {}))
        await eventually(self._waits, 10, "no request waits")
        return request

    async def leader_gets_blob(self) -> None:
        self.leader.put(BLOB)
        await self.leader_node.change(add=[BLOB_DIGEST], size_bytes=len(BLOB))

    async def _waits(self) -> bool:
        return sum([await waiting(router) for router in self.routers if router.process.running]) > 0


async def waiting(router: RouterProcess) -> float:
    return (await router.metrics())["heliograph_router_resolves_waiting"]


@pytest.fixture
async def site(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        start = stack.enter_async_context
        routers = [await start(router_process(tmp_path, nats_server.url)) for _ in range(2)]
        await asyncio.gather(*(router.start() for router in routers))
        registries = [await start(registry(tmp_path, name, routers)) for name in ("leader", "follower")]
        nodes = [
            await start(living_node(nats_server.url, one.name, addresses=[one.address])) for one in registries
        ]
        nodes[0].downloading = [BLOB_DIGEST]
        for router in routers:
            await router.ready()
            await knows(router, nodes)
            assert (await router.wait(BLOB_DIGEST, "leader")).status
        yield Site(routers, registries[0], nodes[0], registries[1])


def registry(
    directory: Path, name: str, routers: list[RouterProcess], **more: object
) -> AbstractAsyncContextManager[Registry]:
    target = "ipv4:" + ",".join(f"127.0.0.1:{router.port}" for router in routers)
    settings = {"wait_ms": WAIT_MS, "first_byte_timeout_ms": FIRST_BYTE_MS, "router_target": target, **more}
    return serve_registry(directory / name, name, 0, **settings)


async def knows(router: RouterProcess, nodes: list[BusNode]) -> None:
    async def all_known() -> bool:
        return {node.name for node in nodes} <= await router.node_names()

    await eventually(all_known, 10, "the router does not know the nodes")


async def test_a_client_waits_for_the_leaders_copy(site: Site) -> None:
    refused = await site.leader.http.get(BLOB_PATH)
    assert (refused.status_code, refused.headers["heliograph-reason"]) == (404, "go-upstream")
    request = await site.start_request()
    await asyncio.wait([request], timeout=1.2 * FIRST_BYTE_MS / 1000)
    assert not request.done()
    await site.leader_gets_blob()
    answer = await request
    assert (answer.content, answer.headers["heliograph-source"]) == (BLOB, "peer/leader")


async def test_later_ranges_heads_and_manifests_do_not_wait(site: Site) -> None:
    http = site.follower.http
    for answer in (
        await http.get(BLOB_PATH, headers={"Range": "bytes=1000-"}),
        await http.head(BLOB_PATH),
        await http.get(MANIFEST_PATH),
    ):
        assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "not-found")
    request = await site.start_request({"Range": "bytes=0-99"})
    await site.leader_gets_blob()
    assert (await request).content == BLOB[:100]


async def test_a_request_waits_at_the_other_router_if_its_own_is_lost(site: Site) -> None:
    request = await site.start_request()
    first, other = site.routers if await waiting(site.routers[0]) else reversed(site.routers)
    await first.process.kill()
    await eventually(lambda: waiting_at(other), 10, "the request does not wait at the other router")
    await site.leader_gets_blob()
    assert (await request).content == BLOB


async def waiting_at(router: RouterProcess) -> bool:
    return await waiting(router) > 0


async def test_if_all_routers_are_lost_during_a_wait_the_answer_is_a_quick_404(site: Site) -> None:
    request = await site.start_request()
    await asyncio.gather(*(router.process.kill() for router in site.routers))
    answer = await asyncio.wait_for(request, WAIT_MS / 1000 / 2)
    assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "resolver-unavailable")


async def test_a_registry_that_stops_sends_waiting_clients_upstream(site: Site) -> None:
    request = await site.start_request()
    site.follower.stop.set()
    answer = await asyncio.wait_for(request, WAIT_MS / 1000 / 2)
    assert answer.status_code == 404


async def test_a_wait_that_runs_out_is_a_404(site: Site, tmp_path: Path) -> None:
    async with registry(tmp_path, "impatient", site.routers, wait_ms=500, node_name="follower") as node:
        began = time.monotonic()
        answer = await node.http.get(BLOB_PATH)
        assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "go-upstream")
        assert time.monotonic() - began > 0.4


async def test_a_router_that_hangs_delays_no_more_than_without_waiting(cluster: Cluster) -> None:
    node = await cluster.registry("node", wait_ms=WAIT_MS, **IMPATIENT)
    cluster.known.hangs = True
    async with asyncio.timeout(WAIT_MS / 1000 / 2):
        answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "resolver-unavailable")


async def test_a_router_that_is_down_delays_no_more_than_without_waiting(cluster: Cluster) -> None:
    cluster.router_port = free_port()
    node = await cluster.registry("node", wait_ms=WAIT_MS, **IMPATIENT)
    async with asyncio.timeout(WAIT_MS / 1000 / 2):
        answer = await node.http.get(BLOB_PATH)
    assert (answer.status_code, answer.headers["heliograph-reason"]) == (404, "resolver-unavailable")
