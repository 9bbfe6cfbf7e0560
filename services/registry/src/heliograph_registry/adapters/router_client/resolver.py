"""Asks the routers over gRPC. Any replica answers; after a failure no router is asked for a while."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import grpc
import structlog
from opentelemetry import trace

from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.adapters.router_client.channel import open_channel
from heliograph_registry.mirror.domain.breaker import Breaker
from heliograph_registry.mirror.domain.peer import Outcome, Peer, Resolution
from heliograph_registry.mirror.errors import ResolverUnavailable
from heliograph_shared import telemetry
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest
from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.rpc.resolver_pb2_grpc import ResolverStub
from heliograph_shared.tls import TlsFiles

_METHOD = "heliograph.resolver.v1.Resolver/Resolve"
_BREAKER_HOLD_S = 2.0
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
    channel: grpc.aio.Channel
    """The one in use; it is replaced whenever certificates change."""

    def __init__(
        self, *, target: str, node: str, zone: str, max_peers: int, metrics: RegistryMetrics
    ) -> None:
        self._target, self._node, self._zone, self._max_peers = target, node, zone, max_peers
        self._breaker = Breaker(_BREAKER_HOLD_S)
        self._took = {
            outcome: metrics.resolve.labels(outcome) for outcome in ("answered", "waited", "failed")
        }
        self._skipped = metrics.resolves_skipped

    def use(self, channel: grpc.aio.Channel) -> None:
        """Use this channel from now on. Must be called before `resolve`."""
        self.channel = channel
        self._resolve = ResolverStub(channel).Resolve
        self._resolve_or_wait = channel.unary_stream(  # a unary call shows headers only with the answer
            f"/{_METHOD}",
            request_serializer=pb.ResolveRequest.SerializeToString,
            response_deserializer=pb.ResolveResponse.FromString,
        )

    @property
    def left_alone_s(self) -> float:
        """For how many more seconds no router is asked, because a call failed."""
        return self._breaker.left_s(time.monotonic())

    async def resolve(
        self,
        keys: Sequence[Digest | str],
        *,
        timeout_s: float,
        failed: Iterable[str] = (),
        wait_s: float = 0,
    ) -> list[Resolution]:
        began = time.monotonic()
        if not self._breaker.admits(began):
            self._skipped.inc()
            raise ResolverUnavailable("a call just failed, the breaker is open", asked=False)
        try:
            resolutions = await self._ask(keys, timeout_s, failed, wait_s)
        except grpc.aio.AioRpcError as error:
            self._failed(began)
            raise ResolverUnavailable(f"{error.code().name}: {error.details()}"[:200]) from error
        except TimeoutError as error:
            self._failed(began)
            raise ResolverUnavailable("no answer in time") from error
        self._breaker.succeeded()
        self._took["waited" if wait_s else "answered"].observe(time.monotonic() - began)
        return resolutions

    def _failed(self, began: float) -> None:
        now = time.monotonic()
        self._breaker.failed(now)
        self._took["failed"].observe(now - began)

    async def _ask(
        self, keys: Sequence[Digest | str], timeout_s: float, failed: Iterable[str], wait_s: float
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
                answer = await (self._wait if wait_s else self._call)(request, timeout_s)
            except grpc.aio.AioRpcError as error:
                span.set_attribute("rpc.response.status_code", error.code().name)
                telemetry.failed(span, error, error.code().name)
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

    async def _call(self, request: pb.ResolveRequest, timeout_s: float) -> pb.ResolveResponse:
        answer: pb.ResolveResponse = await self._resolve(request, timeout=timeout_s, metadata=_metadata())
        return answer

    async def _wait(self, request: pb.ResolveRequest, timeout_s: float) -> pb.ResolveResponse:
        """A router that lets us wait must say so within the timeout. If it is lost then, ask another one."""
        ends_s = time.monotonic() + request.wait_ms / 1000
        try:
            return await self._wait_at_one(request, timeout_s)
        except _RouterLost as error:
            log.info("router lost during a wait, asking another", reason=str(error))
        request.wait_ms = max(0, round((ends_s - time.monotonic()) * 1000))
        try:
            return await self._wait_at_one(request, timeout_s)
        except _RouterLost as error:
            raise TimeoutError from error

    async def _wait_at_one(self, request: pb.ResolveRequest, timeout_s: float) -> pb.ResolveResponse:
        longest_s = timeout_s + request.wait_ms / 1000
        call = self._resolve_or_wait(request, timeout=longest_s, metadata=_metadata())
        try:
            async with asyncio.timeout(timeout_s):
                await call.initial_metadata()
            waits = not call.done()
            try:
                answer = await call.read()
            except grpc.aio.AioRpcError as error:
                if not waits:
                    raise
                raise _RouterLost(f"{error.code().name}: {error.details()}"[:200]) from error
            assert isinstance(answer, pb.ResolveResponse)
            return answer
        finally:
            call.cancel()


class _RouterLost(Exception):
    """The router had accepted the call, and failed later."""


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
    """A resolver with a channel of its own. See `open_channel`."""
    resolver = GrpcResolver(target=target, node=node, zone=zone, max_peers=max_peers, metrics=metrics)
    async with open_channel(target, _OPTIONS, tls=tls, server_name=server_name, use=resolver.use):
        yield resolver


def _metadata() -> tuple[tuple[str, str], ...]:
    return tuple(telemetry.inject().items())


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
    peers = tuple(Peer(peer.node, tuple(peer.addresses)) for peer in found.peers)
    return Resolution(_OUTCOMES.get(found.status, Outcome.NOT_SYNCED), digest, found.size_bytes, peers)
