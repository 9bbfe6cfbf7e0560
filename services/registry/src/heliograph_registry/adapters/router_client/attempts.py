"""One call to the routers as attempts at several replicas: the next starts when one is slow, ill or outdated.

The attempts share the time of the call, so a second replica costs no more than the first one would.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc

from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.adapters.router_client.replicas import Replica
from heliograph_registry.mirror.domain.latency import RecentLatency
from heliograph_registry.mirror.hedging import race
from heliograph_shared import telemetry
from heliograph_shared.rpc import resolver_pb2 as pb

_STAGGER_S, _LEAST_STAGGER_S, _MOST_STAGGER_S = 0.04, 0.02, 0.06
_DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED.name


class ReplicaFailed(Exception):
    """`status` is the name of a gRPC status code."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class WaitLost(Exception):
    """A replica had accepted the call and let it wait, and failed later."""

    def __init__(self, target: str, status: str, reason: str) -> None:
        super().__init__(reason)
        self.target, self.status, self.reason = target, status, reason


class _Outdated(Exception):
    """The replica answered, and another one may know better."""


_FAILURES = (ReplicaFailed, _Outdated)


@dataclass(frozen=True, slots=True)
class _Parked:
    """A call that a replica has accepted; its answer may take as long as the call may wait."""

    replica: Replica
    call: Any

    def cancel(self) -> None:
        self.call.cancel()


class Attempts:
    """Every method takes the replicas in the order to ask them, and `ends`, the loop's time to give up."""

    def __init__(self, metrics: RegistryMetrics) -> None:
        self._latency = RecentLatency(unknown_s=_STAGGER_S, least_s=_LEAST_STAGGER_S, most_s=_MOST_STAGGER_S)
        self._count = {
            outcome: metrics.router_attempts.labels(outcome)
            for outcome in ("answered", "outdated", "slow", "failed")
        }

    async def first_answer(
        self, replicas: Sequence[Replica], request: pb.ResolveRequest, ends: float
    ) -> pb.ResolveResponse:
        """The first answer that is up to date, else the best of the others. Raises `ReplicaFailed`."""
        outdated: list[pb.ResolveResponse] = []

        async def attempt(replica: Replica) -> pb.ResolveResponse:
            async with self._judged(replica):
                call = replica.resolve(request, timeout=_left_s(ends), metadata=_metadata())
                answer: pb.ResolveResponse = await call
            return self._up_to_date(replica, answer, outdated)

        try:
            return await race(
                [partial(attempt, replica) for replica in replicas],
                stagger_s=self._latency.p90_s,
                discard=lambda _: None,
                failures=_FAILURES,
            )
        except _FAILURES:
            if not outdated:
                raise
            return max(outdated, key=_count_found)

    async def first_wait(
        self, replicas: Sequence[Replica], request: pb.ResolveRequest, ends: float
    ) -> pb.ResolveResponse:
        """As `first_answer`, for a call that may wait: a replica has to accept it until `ends`.

        Raises `ReplicaFailed` or `WaitLost`.
        """
        longest_s = ends - _now() + request.wait_ms / 1000
        outdated: list[pb.ResolveResponse] = []
        left = list(replicas)

        async def attempt(replica: Replica) -> _Parked:
            async with self._judged(replica):
                call = replica.resolve_or_wait(request, timeout=longest_s, metadata=_metadata())
                try:
                    async with asyncio.timeout(_left_s(ends)):
                        await call.initial_metadata()
                    if call.done() and await call.code() is not grpc.StatusCode.OK:
                        await call.read()  # raises
                except BaseException:
                    call.cancel()
                    raise
            return _Parked(replica, call)

        while left:
            try:
                parked = await race(
                    [partial(attempt, replica) for replica in left],
                    stagger_s=self._latency.p90_s,
                    discard=_Parked.cancel,
                    failures=_FAILURES,
                )
            except ReplicaFailed:
                if not outdated:
                    raise
                break
            try:
                return self._up_to_date(parked.replica, await _read(parked), outdated)
            except _Outdated:
                left.remove(parked.replica)
            except WaitLost:
                parked.replica.health.failed(_now())
                raise
            finally:
                parked.cancel()
        return max(outdated, key=_count_found)

    def _up_to_date(
        self, replica: Replica, answer: pb.ResolveResponse, outdated: list[pb.ResolveResponse]
    ) -> pb.ResolveResponse:
        """The answer. If another replica may know better, adds it to `outdated` and raises `_Outdated`."""
        if answer.outdated or any(found.status == pb.NOT_SYNCED for found in answer.resolutions):
            replica.health.doubtful(_now())
            self._count["outdated"].inc()
            outdated.append(answer)
            raise _Outdated
        replica.health.answered()
        self._count["answered"].inc()
        return answer

    @asynccontextmanager
    async def _judged(self, replica: Replica) -> AsyncIterator[None]:
        """Judge the replica by how the body ends. Raises `ReplicaFailed`."""
        began, patience_s = _now(), self._latency.p90_s
        replica.health.asked(began)
        try:
            yield
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            replica.health.failed(_now())
            self._count["failed"].inc()
            if isinstance(error, grpc.aio.AioRpcError):
                status = error.code().name
                raise ReplicaFailed(status, f"{status}: {error.details()}"[:200]) from error
            raise ReplicaFailed(_DEADLINE, "no answer in time") from error
        except asyncio.CancelledError:
            if _now() - began >= patience_s:  # cancelled because another one was faster
                replica.health.doubtful(_now())
                self._count["slow"].inc()
            raise
        self._latency.add(_now() - began)


async def _read(parked: _Parked) -> pb.ResolveResponse:
    target = parked.replica.target
    try:
        answer = await parked.call.read()
    except grpc.aio.AioRpcError as error:
        status = error.code().name
        raise WaitLost(target, status, f"{status}: {error.details()}"[:200]) from error
    if not isinstance(answer, pb.ResolveResponse):
        raise WaitLost(target, grpc.StatusCode.UNKNOWN.name, "the call ended without an answer")
    return answer


def _now() -> float:
    return asyncio.get_running_loop().time()


def _left_s(ends: float) -> float:
    return max(0.001, ends - _now())


def _count_found(answer: pb.ResolveResponse) -> int:
    return sum(found.status == pb.FOUND for found in answer.resolutions)


def _metadata() -> tuple[tuple[str, str], ...]:
    return tuple(telemetry.inject().items())
