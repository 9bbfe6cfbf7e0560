"""Asks the routers over gRPC. Each replica has a breaker, and another one is asked when the first is ill."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import grpc
import structlog
from opentelemetry import trace

from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.adapters.router_client.attempts import Attempts, ReplicaFailed, WaitLost
from heliograph_registry.adapters.router_client.replicas import Replica, Replicas, open_replicas
from heliograph_registry.mirror.domain.peer import Outcome, Peer, Resolution
from heliograph_registry.mirror.errors import ResolverUnavailable
from heliograph_shared import telemetry
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest
from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.tls import TlsFiles

_METHOD = "heliograph.resolver.v1.Resolver/Resolve"
_MOST_TRACED = 16
_OPTIONS = [
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.client_idle_timeout_ms", 2**31 - 1),  # never: a pull after a quiet hour need not connect first
]
_OUTCOMES = {
    pb.FOUND: Outcome.FOUND,
    pb.NOT_FOUND: Outcome.NOT_FOUND,
    pb.INVALID_KEY: Outcome.NOT_FOUND,
    pb.NOT_SYNCED: Outcome.NOT_SYNCED,
    pb.GO_UPSTREAM: Outcome.GO_UPSTREAM,
}

log = structlog.get_logger()
tracer = trace.get_tracer("heliograph_registry")


class GrpcResolver:
    def __init__(
        self,
        replicas: Replicas,
        *,
        target: str,
        node: str,
        zone: str,
        max_peers: int,
        metrics: RegistryMetrics,
    ) -> None:
        """`target` is for traces."""
        self._target, self._node, self._zone, self._max_peers = target, node, zone, max_peers
        self._replicas, self._attempts = replicas, Attempts(metrics)
        self._took = {
            outcome: metrics.resolve.labels(outcome) for outcome in ("answered", "waited", "failed")
        }
        self._skipped = metrics.resolves_skipped

    @property
    def channels(self) -> Sequence[grpc.aio.Channel]:
        """Of all router replicas, the best one first."""
        return self._replicas.channels

    @property
    def left_alone_s(self) -> float:
        """For how many more seconds no router is asked, because calls to all of them failed."""
        return self._replicas.left_alone_s

    async def resolve(
        self,
        keys: Sequence[Digest | str],
        *,
        timeout_s: float,
        failed: Iterable[str] = (),
        wait_s: float = 0,
    ) -> list[Resolution]:
        began = _now()
        replicas = await self._replicas.in_order(timeout_s)
        if not replicas:
            if not self._replicas.known:
                raise ResolverUnavailable(f"no address is known for {self._target}")
            self._skipped.inc()
            raise ResolverUnavailable("calls to all of them just failed, the breakers are open", asked=False)
        try:
            resolutions = await self._ask(replicas, keys, began + timeout_s, failed, wait_s)
        except ReplicaFailed as error:
            self._took["failed"].observe(_now() - began)
            raise ResolverUnavailable(error.reason) from error
        self._took["waited" if wait_s else "answered"].observe(_now() - began)
        return resolutions

    async def _ask(
        self,
        replicas: Sequence[Replica],
        keys: Sequence[Digest | str],
        ends: float,
        failed: Iterable[str],
        wait_s: float,
    ) -> list[Resolution]:
        request = pb.ResolveRequest(
            keys=[_key(key) for key in keys],
            max_peers=self._max_peers,
            wait_ms=round(wait_s * 1000),
            node=self._node,
            zone=self._zone,
            failed_peers=[pb.FailedPeer(node=node, reason="did not deliver") for node in failed],
        )
        attributes: dict[str, str | int] = {
            "rpc.system.name": "grpc",
            "rpc.method": _METHOD,
            "server.address": self._target,
            "heliograph.keys": len(keys),
            "heliograph.wait_ms": request.wait_ms,
        }
        with telemetry.span(tracer, _METHOD, kind=trace.SpanKind.CLIENT, attributes=attributes) as span:
            try:
                if wait_s:
                    answer = await self._wait(replicas, request, ends)
                else:
                    answer = await self._attempts.first_answer(replicas, request, ends)
            except ReplicaFailed as error:
                span.set_attribute("rpc.response.status_code", error.status)
                telemetry.failed(span, error, error.status)
                raise
            except BaseException as error:
                telemetry.failed(span, error)
                raise
            span.set_attribute("rpc.response.status_code", "OK")
            resolutions = [_resolution(found) for found in answer.resolutions]
            if len(resolutions) != len(keys):
                return [Resolution(Outcome.NOT_SYNCED)] * len(keys)
            if span.is_recording():
                span.set_attributes(_found(resolutions))
            return resolutions

    async def _wait(
        self, replicas: Sequence[Replica], request: pb.ResolveRequest, ends: float
    ) -> pb.ResolveResponse:
        """A router that lets us wait must say so in time. If it is lost then, another one is asked, once."""
        began = _now()
        wait_ends, accept_s = began + request.wait_ms / 1000, ends - began
        try:
            return await self._attempts.first_wait(replicas, request, ends)
        except WaitLost as lost:
            log.info("router lost during a wait, asking another", router=lost.target, reason=lost.reason)
            others = [replica for replica in replicas if replica.target != lost.target]
            if not others:
                others = list(replicas)
        now = _now()
        request.wait_ms = max(0, round((wait_ends - now) * 1000))
        try:
            return await self._attempts.first_wait(others, request, now + accept_s)
        except WaitLost as lost:
            raise ReplicaFailed(lost.status, lost.reason) from lost


@asynccontextmanager
async def open_resolver(
    target: str,
    *,
    node: str,
    zone: str,
    max_peers: int,
    metrics: RegistryMetrics,
    tls: TlsFiles | None = None,
    server_name: str = "",
) -> AsyncIterator[GrpcResolver]:
    """A resolver with channels of its own. See `open_replicas`."""
    async with open_replicas(target, _OPTIONS, tls=tls, server_name=server_name) as replicas:
        yield GrpcResolver(
            replicas, target=target, node=node, zone=zone, max_peers=max_peers, metrics=metrics
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _found(resolutions: Sequence[Resolution]) -> dict[str, list[str]]:
    """Span attributes: the distinct outcomes and peers of these resolutions."""
    peers = dict.fromkeys(peer.node for found in resolutions for peer in found.peers)
    return {
        "heliograph.outcome": sorted({found.outcome.value for found in resolutions}),
        "heliograph.peers": [*peers][:_MOST_TRACED],
    }


def _key(key: Digest | str) -> pb.Key:
    try:
        return pb.Key(digest=parse_digest(key))
    except InvalidDigest:
        return pb.Key(tag_reference=key)


def _resolution(found: pb.Resolution) -> Resolution:
    """An invalid answer counts as `NOT_SYNCED`, which is no answer."""
    try:
        digest = parse_digest(found.digest) if found.digest else None
    except InvalidDigest:
        return Resolution(Outcome.NOT_SYNCED)
    peers = tuple(Peer(peer.node, tuple(peer.addresses), peer.size_bytes) for peer in found.peers)
    return Resolution(_OUTCOMES.get(found.status, Outcome.NOT_SYNCED), digest, peers)
