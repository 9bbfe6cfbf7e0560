"""Calls that wait for their node's turn."""

import asyncio

import pytest

from heliograph_router.domain.waiting import Turn
from heliograph_router.errors import Stopping
from heliograph_router.parking import Parking
from tests.unit.router.simulated import DIGESTS
from tests.unit.router.test_waiting import Held

A = DIGESTS[0]


class Lot:
    def __init__(self) -> None:
        self.held, self.told = Held(), 0
        self.parking = Parking(self.held, leaders=1, lease_s=60)

    async def turn(self, node: str, wait_s: float = 10) -> Turn:
        return await self.parking.turn(A, node, wait_s, self._parked)

    async def parked(self, *nodes: str) -> list[asyncio.Task[Turn]]:
        tasks = [asyncio.create_task(self.turn(node)) for node in nodes]
        await asyncio.sleep(0)
        return tasks

    def arrives(self, node: str) -> None:
        self.held.by.setdefault(A, set()).add(node)
        self.parking.waiting.changed({A}, 0)

    async def _parked(self) -> None:
        self.told += 1


async def test_a_call_that_has_to_wait_says_so_and_is_woken() -> None:
    lot = Lot()
    assert (await lot.turn("a"), lot.told) == (Turn.UPSTREAM, 0)
    first, again, other = await lot.parked("b", "b", "c")
    assert (len(lot.parking), lot.told) == (3, 3)
    lot.arrives("a")
    assert {await call for call in (first, again, other)} == {Turn.PEERS}
    assert len(lot.parking) == 0


async def test_a_wait_runs_out_and_the_next_one_in_the_queue_moves_up() -> None:
    lot = Lot()
    await lot.turn("a")
    assert await lot.turn("b", 0.01) is Turn.WAIT
    (third,) = await lot.parked("c")
    lot.parking.waiting.gone("a", 0)
    assert await third is Turn.UPSTREAM


async def test_a_caller_that_hangs_up_leaves_the_queue_with_its_last_call() -> None:
    lot = Lot()
    await lot.turn("a")
    one, two, third = await lot.parked("b", "b", "c")
    one.cancel()
    await asyncio.wait([one])
    assert len(lot.parking) == 2
    two.cancel()
    await asyncio.wait([two])
    lot.parking.waiting.gone("a", 0)
    assert await third is Turn.UPSTREAM


async def test_beyond_the_bound_nobody_is_parked() -> None:
    lot = Lot()
    await lot.turn("a")
    calls = await lot.parked(*(f"n{number}" for number in range(4_096)))
    assert await lot.turn("one-too-many") is Turn.WAIT
    assert len(lot.parking) == lot.told == 4_096
    lot.parking.stop()
    assert {type(end) for end in await asyncio.gather(*calls, return_exceptions=True)} == {Stopping}


async def test_a_router_that_stops_keeps_nobody_waiting() -> None:
    lot = Lot()
    await lot.turn("a")
    (call,) = await lot.parked("b")
    lot.parking.stop()
    with pytest.raises(Stopping):
        await call
    with pytest.raises(Stopping):
        await lot.turn("c")
