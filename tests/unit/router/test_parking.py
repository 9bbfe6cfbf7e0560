"""Calls that wait for their node's turn."""

import asyncio

import pytest

from heliograph_router.domain.waiting import Turn
from heliograph_router.errors import WaitAbandoned
from heliograph_router.parking import Parking
from tests.unit.router.simulated import DIGESTS
from tests.unit.router.test_waiting import FakeHolders

A = DIGESTS[0]


class ParkedCalls:
    def __init__(self) -> None:
        self.holders, self.notified = FakeHolders(), 0
        self.parking = Parking(self.holders, leaders=1, lease_s=60)

    async def turn(self, node: str, wait_s: float = 10) -> Turn:
        return await self.parking.turn(A, node, wait_s, self._parked)

    async def park(self, *nodes: str) -> list[asyncio.Task[Turn]]:
        tasks = [asyncio.create_task(self.turn(node)) for node in nodes]
        await asyncio.sleep(0)
        return tasks

    def arrives(self, node: str) -> None:
        self.holders.by_digest.setdefault(A, set()).add(node)
        self.parking.waiting.changed({A}, 0)

    async def _parked(self) -> None:
        self.notified += 1


async def test_a_call_that_has_to_wait_is_notified_and_gets_its_turn() -> None:
    parked = ParkedCalls()
    assert (await parked.turn("a"), parked.notified) == (Turn.UPSTREAM, 0)
    first, again, other = await parked.park("b", "b", "c")
    assert (len(parked.parking), parked.notified) == (3, 3)
    parked.arrives("a")
    assert {await call for call in (first, again, other)} == {Turn.PEERS}
    assert len(parked.parking) == 0


async def test_after_a_timeout_the_next_node_in_the_queue_moves_up() -> None:
    parked = ParkedCalls()
    await parked.turn("a")
    assert await parked.turn("b", 0.01) is Turn.WAIT
    (third,) = await parked.park("c")
    parked.parking.waiting.gone("a", 0)
    assert await third is Turn.UPSTREAM


async def test_a_node_leaves_the_queue_when_its_last_call_is_cancelled() -> None:
    parked = ParkedCalls()
    await parked.turn("a")
    one, two, third = await parked.park("b", "b", "c")
    one.cancel()
    await asyncio.wait([one])
    assert len(parked.parking) == 2
    two.cancel()
    await asyncio.wait([two])
    parked.parking.waiting.gone("a", 0)
    assert await third is Turn.UPSTREAM


async def test_beyond_the_bound_a_call_does_not_wait() -> None:
    parked = ParkedCalls()
    await parked.turn("a")
    calls = await parked.park(*(f"n{number}" for number in range(4_096)))
    assert await parked.turn("one-too-many") is Turn.WAIT
    assert len(parked.parking) == parked.notified == 4_096
    parked.parking.stop()
    assert {type(end) for end in await asyncio.gather(*calls, return_exceptions=True)} == {WaitAbandoned}


async def test_stopping_ends_all_waits() -> None:
    parked = ParkedCalls()
    await parked.turn("a")
    (call,) = await parked.park("b")
    parked.parking.stop()
    with pytest.raises(WaitAbandoned):
        await call
    with pytest.raises(WaitAbandoned):
        await parked.turn("c")


async def test_a_router_that_hears_no_node_sends_waiting_calls_elsewhere_and_goes_on() -> None:
    parked = ParkedCalls()
    await parked.turn("a")
    (call,) = await parked.park("b")
    parked.parking.abandon("no message from the bus")
    with pytest.raises(WaitAbandoned, match="bus"):
        await call
    (again,) = await parked.park("b")
    parked.arrives("a")
    assert await again is Turn.PEERS
