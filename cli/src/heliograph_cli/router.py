"""Client of the router's API (`heliograph.resolver.v1`): every call has a time limit, none is retried."""

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from heliograph_cli.credentials import ClientTls
from heliograph_cli.errors import Unreachable
from heliograph_shared import telemetry
from heliograph_shared.digest import InvalidDigest, parse_digest
from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.rpc.channels import direct_channel
from heliograph_shared.rpc.resolver_pb2_grpc import ResolverStub

_TIMEOUT_S = 5.0
_MAX_ANSWER_BYTES = 64 << 20
_OPTIONS = (("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),)

T = TypeVar("T")


class RouterClient:
    """Every call raises `Unreachable` when it is not answered within 5 s."""

    def __init__(self, channel: grpc.aio.Channel, target: str) -> None:
        self._stub, self._health, self._target = ResolverStub(channel), HealthStub(channel), target

    async def resolve(
        self, keys: Sequence[str], *, node: str = "", max_peers: int = 0
    ) -> list[pb.Resolution]:
        """One resolution per key, a digest or `registry/repository:tag`; `node` is not among the peers."""
        request = pb.ResolveRequest(keys=[_key(key) for key in keys], node=node, max_peers=max_peers)
        answer = await self._answered(self._stub.Resolve(request, **_call()))
        return list(answer.resolutions)

    async def nodes(self) -> list[pb.Node]:
        answer = await self._answered(self._stub.ListNodes(pb.ListNodesRequest(), **_call()))
        return sorted(answer.nodes, key=lambda node: node.node)

    async def stats(self) -> pb.StatsResponse:
        return await self._answered(self._stub.Stats(pb.StatsRequest(), **_call()))

    async def serving(self) -> bool:
        """True if the router is ready, by the standard gRPC health service."""
        answer = await self._answered(self._health.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def _answered(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            reason = f"{error.code().name.lower().replace('_', ' ')}: {error.details()}"
            raise Unreachable("router", self._target, reason) from error


@asynccontextmanager
async def open_router(target: str, tls: ClientTls | None = None) -> AsyncIterator[RouterClient]:
    """Uses TLS if `tls` names a file. Raises `StartupError` when the files cannot be used."""
    credentials = tls.credentials() if tls else None
    named = (("grpc.ssl_target_name_override", tls.server_name),) if tls and tls.server_name else ()
    channel = direct_channel(target, (*_OPTIONS, *(named if credentials else ())), credentials)
    async with channel:
        yield RouterClient(channel, target)


def _call() -> dict[str, object]:
    return {"timeout": _TIMEOUT_S, "metadata": tuple(telemetry.inject().items())}


def _key(text: str) -> pb.Key:
    try:
        return pb.Key(digest=parse_digest(text))
    except InvalidDigest:
        return pb.Key(tag_reference=text)
