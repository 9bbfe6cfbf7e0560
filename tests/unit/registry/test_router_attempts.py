"""One call to several router replicas, of which some are ill. The clock is virtual."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.adapters.router_client.attempts import Attempts, ReplicaFailed, WaitLost
from heliograph_registry.adapters.router_client.replicas import Replica
from heliograph_registry.mirror.domain.replica_health import ReplicaHealth, Turn
from heliograph_shared.rpc import resolver_pb2 as pb

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

BUDGET_S = 0.18
GOOD = pb.ResolveResponse(resolutions=[pb.Resolution(status=pb.FOUND, digest="good")])
MISS = pb.ResolveResponse(resolutions=[pb.Resolution(status=pb.NOT_FOUND)])
OLD = pb.ResolveResponse(resolutions=[pb.Resolution(status=pb.FOUND, digest="old")], outdated=True)
NOT_SYNCED = pb.ResolveResponse(resolutions=[pb.Resolution(status=pb.NOT_SYNCED)])


class FakeReplica(Replica):
    """Answers after `after_s`, with an error if `answer` is None. A waiting call is parked for `parks_s`."""

    def __init__(self, name: str, answer: pb.ResolveResponse | None, after_s: float = 0.001) -> None:
        self.target, self.health, self.calls = name, ReplicaHealth(), 0
        self.answer, self.after_s, self.parks_s = answer, after_s, 0.0
        self.resolve: Any = self._resolve
        self.resolve_or_wait: Any = self._resolve_or_wait

    async def _resolve(self, _: Any, *, timeout: float, metadata: Any) -> pb.ResolveResponse:  # noqa: ASYNC109
        self.calls += 1
        if self.after_s > timeout:
            await asyncio.sleep(timeout)
            raise _error(grpc.StatusCode.DEADLINE_EXCEEDED)
        await asyncio.sleep(self.after_s)
        return self._answered()

    def _resolve_or_wait(self, _: Any, *, timeout: float, metadata: Any) -> "FakeCall":
        self.calls += 1
        return FakeCall(self)

    def _answered(self) -> pb.ResolveResponse:
        if self.answer is None:
            raise _error(grpc.StatusCode.UNAVAILABLE)
        return self.answer


class FakeCall:
    def __init__(self, replica: FakeReplica) -> None:
        self._replica = replica

    async def initial_metadata(self) -> None:
        await asyncio.sleep(self._replica.after_s)

    def done(self) -> bool:
        return self._replica.answer is None and not self._replica.parks_s

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    async def read(self) -> pb.ResolveResponse:
        await asyncio.sleep(self._replica.parks_s)
        return self._replica._answered()

    def cancel(self) -> None:
        pass


def _error(code: grpc.StatusCode) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "broken")


class Client:
    """Calls as the resolver makes them: the replicas in order of their turn, a new first one each time."""

    def __init__(self, *replicas: FakeReplica) -> None:
        self.replicas, self.attempts, self.calls = list(replicas), Attempts(RegistryMetrics()), 0

    def in_order(self) -> list[FakeReplica]:
        now, first = self.now(), self.calls % len(self.replicas)
        self.calls += 1
        rotated = self.replicas[first:] + self.replicas[:first]
        admitted = [replica for replica in rotated if replica.health.turn(now) < Turn.NEVER]
        return sorted(admitted, key=lambda replica: replica.health.turn(now))

    async def ask(self) -> pb.ResolveResponse:
        return await self.attempts.first_answer(self.in_order(), pb.ResolveRequest(), self.now() + BUDGET_S)

    async def wait(self, wait_s: float = 10) -> pb.ResolveResponse:
        request = pb.ResolveRequest(wait_ms=round(wait_s * 1000))
        return await self.attempts.first_wait(self.in_order(), request, self.now() + BUDGET_S)

    @staticmethod
    def now() -> float:
        return asyncio.get_running_loop().time()


def stopped() -> FakeReplica:
    return FakeReplica("stopped", GOOD, 1e6)


def slow() -> FakeReplica:
    return FakeReplica("slow", GOOD, 0.25)


def refused() -> FakeReplica:
    return FakeReplica("refused", None)


def cut_off() -> FakeReplica:
    return FakeReplica("cut off", OLD)


def rebuilding() -> FakeReplica:
    return FakeReplica("rebuilding", NOT_SYNCED)


ILL = [stopped, slow, refused, cut_off, rebuilding]


@pytest.mark.parametrize("ill", ILL)
@pytest.mark.parametrize("answer", [GOOD, MISS], ids=["found", "not found"])
async def test_with_one_healthy_replica_no_call_fails_because_of_the_other(
    ill: Any, answer: pb.ResolveResponse
) -> None:
    client = Client(ill(), FakeReplica("healthy", answer))
    for _ in range(200):
        began = client.now()
        assert await client.ask() == answer
        assert client.now() - began < 0.1
        await asyncio.sleep(0.1)
    assert client.replicas[0].calls <= 20 / 2 + 1


@pytest.mark.parametrize("ill", ILL)
async def test_many_calls_at_once_find_the_healthy_one(ill: Any) -> None:
    client = Client(ill(), FakeReplica("healthy", GOOD))
    answers = await asyncio.gather(*(client.ask() for _ in range(100)))
    assert all(answer == GOOD for answer in answers)


@pytest.mark.parametrize("ill", ILL)
async def test_a_replica_that_recovers_is_asked_again(ill: Any) -> None:
    sick = ill()
    client = Client(sick, FakeReplica("healthy", GOOD))
    for _ in range(10):
        await client.ask()
    sick.answer, sick.after_s = GOOD, 0.001
    await asyncio.sleep(2.1)
    before = sick.calls
    for _ in range(100):
        await client.ask()
    assert sick.calls - before >= 40


async def test_an_outdated_answer_is_better_than_none() -> None:
    for other in (stopped(), refused(), rebuilding()):
        assert await Client(cut_off(), other).ask() == OLD
        assert await Client(other, cut_off()).ask() == OLD


async def test_the_time_of_a_call_is_shared_by_its_attempts() -> None:
    client = Client(stopped(), stopped())
    began = client.now()
    with pytest.raises(ReplicaFailed):
        await client.ask()
    assert client.now() - began <= BUDGET_S + 0.001
    assert client.in_order() == []


async def test_a_call_that_the_client_gave_up_at_once_blames_nobody() -> None:
    client = Client(stopped(), stopped())
    call = asyncio.create_task(client.ask())
    await asyncio.sleep(0.01)
    call.cancel()
    await asyncio.wait([call])
    assert [replica.health.turn(client.now()) for replica in client.replicas] == [Turn.FIRST] * 2


@pytest.mark.parametrize("ill", ILL)
async def test_a_waiting_call_too_reaches_the_healthy_one(ill: Any) -> None:
    healthy = FakeReplica("healthy", GOOD)
    healthy.parks_s = 5
    client = Client(ill(), healthy)
    if ill is slow:
        client.replicas[0].parks_s = 5
    for _ in range(4):
        assert await client.wait() == GOOD


async def test_a_router_that_is_lost_during_a_wait_is_named() -> None:
    dies = FakeReplica("dies", None)
    dies.parks_s = 5
    with pytest.raises(WaitLost) as lost:
        await Client(dies).wait()
    assert (lost.value.target, lost.value.status) == ("dies", "UNAVAILABLE")
    assert dies.health.turn(Client.now()) is Turn.NEVER


delays = st.sampled_from([0.001, 0.03, 0.07, 0.25, 1e6])
answers = st.sampled_from([GOOD, OLD, NOT_SYNCED, None])


@given(st.lists(st.lists(st.tuples(answers, delays), min_size=2, max_size=2), min_size=1, max_size=12))
async def test_whatever_the_others_do_a_healthy_replica_s_answer_is_found(
    history: list[Sequence[tuple[pb.ResolveResponse | None, float]]],
) -> None:
    others = [FakeReplica(f"other-{number}", GOOD) for number in range(2)]
    client = Client(*others, FakeReplica("healthy", GOOD))
    for behaviours in history:
        for replica, (answer, after_s) in zip(others, behaviours, strict=True):
            replica.answer, replica.after_s = answer, after_s
        assert await client.ask() == GOOD
        await asyncio.sleep(0.3)
