"""Pulling snapshots: at most 64 at once, one at a time from each node, until none is needed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from heliograph_router.domain.cluster import NeedSnapshot
from heliograph_router.domain.events import ReceivedSnapshot
from heliograph_router.errors import SnapshotUnavailable
from heliograph_router.resync import Resync
from heliograph_shared.runtime import background
from tests.support.waiting import eventually
from tests.unit.router.simulated import SimulatedNode


class FakeSnapshots:
    """Answers for every node once `may_answer` is set; the first `failures` pulls of each node fail."""

    def __init__(self, failures: int = 0) -> None:
        self.may_answer = asyncio.Event()
        self.failures = failures
        self.asked: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()
        self.most_in_flight = 0
        self.received: list[str] = []

    async def pull(self, need: NeedSnapshot) -> ReceivedSnapshot:
        node = need.node
        self.asked[node] += 1
        self.in_flight[node] += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight.total())
        try:
            await self.may_answer.wait()
        finally:
            self.in_flight[node] -= 1
        if self.asked[node] <= self.failures:
            raise SnapshotUnavailable(node, "not now")
        return SimulatedNode(node, incarnation=need.incarnation).snapshot()

    def take(self, snapshot: ReceivedSnapshot) -> None:
        self.received.append(snapshot.node)

    def still_needed(self, node: str) -> NeedSnapshot | None:
        return None if node in self.received else NeedSnapshot(node, 1)


@asynccontextmanager
async def resyncing(nodes: FakeSnapshots) -> AsyncIterator[Resync]:
    resync = Resync(nodes, on_snapshot=nodes.take, still_needed=nodes.still_needed)
    async with background(resync.run()):
        await asyncio.sleep(0)
        yield resync


@pytest.fixture
def nodes() -> FakeSnapshots:
    return FakeSnapshots()


async def test_at_most_64_are_pulled_at_a_time_and_all_in_the_end(nodes: FakeSnapshots) -> None:
    async with resyncing(nodes) as resync:
        for number in range(200):
            resync.request(NeedSnapshot(f"node-{number}", 1))
        await eventually(lambda: nodes.in_flight.total() == 64)
        nodes.may_answer.set()
        await eventually(lambda: len(nodes.received) == 200)
        assert nodes.most_in_flight == 64


async def test_a_node_is_asked_once_at_a_time(nodes: FakeSnapshots) -> None:
    async with resyncing(nodes) as resync:
        for _ in range(5):
            resync.request(NeedSnapshot("node", 1))
        await eventually(lambda: nodes.in_flight["node"] == 1)
        nodes.may_answer.set()
        await eventually(lambda: nodes.received == ["node"])
        assert nodes.asked["node"] == 1


async def test_a_node_is_asked_until_it_answers() -> None:
    nodes = FakeSnapshots(failures=2)
    nodes.may_answer.set()
    async with resyncing(nodes) as resync:
        resync.request(NeedSnapshot("node", 1))
        await eventually(lambda: nodes.received == ["node"])
        assert nodes.asked["node"] == 3


async def test_a_snapshot_that_is_no_longer_needed_is_not_asked_for_again() -> None:
    nodes = FakeSnapshots(failures=1)
    nodes.may_answer.set()
    async with resyncing(nodes) as resync:
        resync.request(NeedSnapshot("node", 1))
        await eventually(lambda: nodes.asked["node"] == 1)
        nodes.received.append("node")
        await eventually(lambda: not resync._requested)
        assert nodes.asked["node"] == 1


async def test_when_it_ends_nothing_is_left_running(nodes: FakeSnapshots) -> None:
    async with resyncing(nodes) as resync:
        resync.request(NeedSnapshot("node", 1))
        await eventually(lambda: nodes.in_flight.total() == 1)
    assert nodes.in_flight.total() == 0
    resync.request(NeedSnapshot("node", 1))
    assert nodes.asked["node"] == 1
