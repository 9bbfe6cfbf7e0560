"""The router replicas behind a target: a channel and a breaker for each."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import grpc
import structlog

from heliograph_registry.adapters.router_client.addresses import FixedTargets, Named, look_up, parse_target
from heliograph_registry.adapters.router_client.channel import ChannelFactory, ChannelOptions
from heliograph_registry.mirror.domain.replica_health import ReplicaHealth, Turn
from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.rpc.resolver_pb2_grpc import ResolverStub
from heliograph_shared.runtime import background
from heliograph_shared.tls import TlsFiles

_TICK_S = 1.0
_LOOK_UP_EVERY_S, _LOOK_UP_SOON_S = 30.0, 2.0
_GRACE_S = 300.0  # longer than a call may wait
_RESOLVE = "/heliograph.resolver.v1.Resolver/Resolve"

log = structlog.get_logger()


class Replica:
    """`target` is its gRPC target; `channel` is the one in use."""

    def __init__(self, target: str, channel: grpc.aio.Channel) -> None:
        self.target, self.health = target, ReplicaHealth()
        self.use(channel)

    def use(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.resolve = ResolverStub(channel).Resolve
        self.resolve_or_wait = channel.unary_stream(  # a unary call shows headers only with the answer
            _RESOLVE,
            request_serializer=pb.ResolveRequest.SerializeToString,
            response_deserializer=pb.ResolveResponse.FromString,
        )


class Replicas:
    """Follows DNS and the TLS files. Keeps the replicas that it knows while DNS does not answer."""

    def __init__(self, source: FixedTargets | Named, channels: ChannelFactory) -> None:
        self._source, self._channels = source, channels
        self._replicas: dict[str, Replica] = {}
        self._looked_up = asyncio.Event()
        self._looked_up_at = -math.inf
        self._turns = 0
        self._closing: set[asyncio.Task[None]] = set()
        if isinstance(source, FixedTargets):
            self._set(source.targets)
            self._looked_up.set()

    async def in_order(self, timeout_s: float) -> list[Replica]:
        """The replicas to ask, in this order; each is the first one in turn.

        Waits for the first answer of DNS, for `timeout_s` at most.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._looked_up.wait()
        return [replica for replica in self._ordered() if replica.health.turn(_now()) < Turn.NEVER]

    @property
    def known(self) -> int:
        return len(self._replicas)

    @property
    def channels(self) -> Sequence[grpc.aio.Channel]:
        """Of all replicas, the best one first."""
        return [replica.channel for replica in self._ordered()]

    @property
    def left_alone_s(self) -> float:
        """For how many more seconds no replica is asked."""
        now = _now()
        return min((replica.health.left_s(now) for replica in self._replicas.values()), default=0.0)

    async def follow(self) -> None:
        """Follow files and DNS until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_files())
            if isinstance(self._source, Named):
                group.create_task(self._follow_name(self._source))

    async def close(self) -> None:
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*(replica.channel.close() for replica in self._replicas.values()))

    def _ordered(self) -> list[Replica]:
        self._turns += 1
        replicas, now = list(self._replicas.values()), _now()
        first = self._turns % max(1, len(replicas))
        return sorted(replicas[first:] + replicas[:first], key=lambda replica: replica.health.turn(now))

    async def _follow_files(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            if self._channels.renewed():
                for replica in self._replicas.values():
                    self._close_later(replica.channel)
                    replica.use(self._channels.open(replica.target))

    async def _follow_name(self, source: Named) -> None:
        while True:
            if _now() >= self._look_up_at():
                self._looked_up_at = _now()
                try:
                    self._set(await look_up(source.name))
                except OSError as error:
                    log.warning("DNS lookup of the routers failed", name=source.name.host, reason=str(error))
                self._looked_up.set()
            await asyncio.sleep(_TICK_S)

    def _look_up_at(self) -> float:
        """Soon, if a replica failed: it may have another address now."""
        now = _now()
        failing = any(replica.health.left_s(now) for replica in self._replicas.values())
        return self._looked_up_at + (_LOOK_UP_SOON_S if failing or not self._replicas else _LOOK_UP_EVERY_S)

    def _set(self, targets: Sequence[str]) -> None:
        """Keep those that are still there, with their health."""
        if not targets:
            return
        for target in self._replicas.keys() - set(targets):
            self._close_later(self._replicas.pop(target).channel)
        for target in targets:
            if target not in self._replicas:
                self._replicas[target] = Replica(target, self._channels.open(target))

    def _close_later(self, channel: grpc.aio.Channel) -> None:
        closing = asyncio.create_task(channel.close(_GRACE_S))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


@asynccontextmanager
async def open_replicas(
    target: str, options: ChannelOptions, *, tls: TlsFiles | None, server_name: str
) -> AsyncIterator[Replicas]:
    """`server_name` is the name that certificates must have; if empty, the host of `target`.

    Raises `StartupError`.
    """
    source = parse_target(target)
    name = server_name or (source.name.host if isinstance(source, Named) else "")
    replicas = Replicas(source, ChannelFactory(options, tls=tls, server_name=name))
    try:
        async with background(replicas.follow()):
            yield replicas
    finally:
        await replicas.close()


def _now() -> float:
    return asyncio.get_running_loop().time()
