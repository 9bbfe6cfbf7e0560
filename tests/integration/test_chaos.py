"""After any failure, the router's answers soon equal what the nodes hold."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest

from heliograph_shared.rpc import resolver_pb2 as pb
from tests.integration.chaos_support import DIGESTS, GRACE_S, Chaos, chaos
from tests.integration.router_support import LEASE_S
from tests.support.nats import NatsServer
from tests.support.waiting import eventually

NODES = 24
BOUND_S = LEASE_S + GRACE_S


@pytest.fixture
async def world(tmp_path: Path, nats_server: NatsServer) -> AsyncIterator[Chaos]:
    async with chaos(tmp_path, nats_server, NODES) as made:
        yield made


async def test_deltas_are_lost(world: Chaos) -> None:
    world.lost_share = 0.2
    async with world.churn():
        await asyncio.sleep(2)
    await world.converges(BOUND_S)


@pytest.mark.parametrize("away_s", [1.5, LEASE_S + 1])
async def test_the_bus_is_killed(world: Chaos, away_s: float) -> None:
    async with world.churn():
        await world.nats.kill()
        await asyncio.sleep(away_s)
        assert len(await world.router.node_names()) == NODES
        await world.nats.start()
    await world.converges(BOUND_S)
    assert len(await world.router.node_names()) == NODES


async def test_nodes_are_lost_while_the_bus_is_away(world: Chaos) -> None:
    async with world.churn():
        await world.nats.kill()
        world.lose(1, 2, 3)
        await asyncio.sleep(LEASE_S + 1)
        await world.nats.start()
    await world.converges(2 * LEASE_S + GRACE_S)


async def test_the_router_is_killed(world: Chaos) -> None:
    async with world.churn():
        await world.router.process.kill()
        await asyncio.sleep(0.5)
        await world.router.start()
    await world.converges(BOUND_S)


async def test_nodes_die(world: Chaos) -> None:
    async with world.churn():
        world.lose(4, 5)
        died_s = monotonic()
        await asyncio.sleep(0.5)
    await world.converges(BOUND_S - (monotonic() - died_s))


async def test_all_nodes_restart_at_once(world: Chaos) -> None:
    await asyncio.gather(*(world.restart(number) for number in range(NODES)))
    await world.converges(BOUND_S)


async def test_clocks_are_set(world: Chaos) -> None:
    """Two minutes ahead, then back: the second start has the lower time, and has to exceed the first."""
    for number in range(4):
        await world.restart(number, ahead_s=120)
    await world.converges(BOUND_S)
    for number in range(4):
        await world.restart(number)
    await world.converges(BOUND_S)
    assert all(world.nodes[number].outbid for number in range(4))


@pytest.mark.parametrize("stopped_s", [1.5, LEASE_S + 1])
async def test_the_router_is_stalled(world: Chaos, stopped_s: float) -> None:
    async with world.churn():
        world.router.process.send(signal.SIGSTOP)
        await asyncio.sleep(stopped_s)
        world.router.process.send(signal.SIGCONT)
        await asyncio.sleep(0.2)
    await world.converges(BOUND_S)
    assert len(await world.router.node_names()) == NODES
    assert "nodes lost" not in world.router.log


async def test_half_of_the_nodes_fall_silent_and_are_kept(world: Chaos) -> None:
    silent = range(NODES // 2)
    for number in silent:
        world.nodes[number].mute = True

    async def all_stale() -> bool:
        listed = await world.router.api.ListNodes(pb.ListNodesRequest(), timeout=5)
        return {node.node for node in listed.nodes if node.stale} == {f"n{number}" for number in silent}

    await eventually(all_stale, BOUND_S)
    assert not await world.wrong(), "silent nodes are still named"
    for answer in await world.router.ask(*DIGESTS, max_peers=NODES):
        stale = [int(peer.node[1:]) in silent for peer in answer.peers]
        assert stale == sorted(stale), "stale nodes are named last"
    for number in silent:
        world.nodes[number].mute = False
    await eventually(lambda: nobody_stale(world), BOUND_S)
    assert "nodes lost" not in world.router.log
    await world.converges(BOUND_S)


async def nobody_stale(world: Chaos) -> bool:
    return (await world.router.metrics())["heliograph_router_nodes_stale"] == 0
