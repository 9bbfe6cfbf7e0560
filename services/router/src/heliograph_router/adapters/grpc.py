"""Serves the resolver API v1 and the standard health service over gRPC."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry import trace

from heliograph_router.adapters.metrics import RouterMetrics
from heliograph_router.catalogue import DEFAULT_TAGS, MAX_TAGS, Listing
from heliograph_router.domain.cluster import LiveNode, Totals
from heliograph_router.domain.resolution import ByDigest, ByTag, Key, KeyAnswer, NotAKey, Query, Status
from heliograph_router.errors import WaitAbandoned
from heliograph_router.parking import OnParked
from heliograph_shared import telemetry
from heliograph_shared.address import Address
from heliograph_shared.digest import InvalidDigest, parse_digest
from heliograph_shared.reference import InvalidReference, parse_tag_reference
from heliograph_shared.rpc import resolver_pb2 as pb
from heliograph_shared.rpc.resolver_pb2_grpc import ResolverServicer, add_ResolverServicer_to_server
from heliograph_shared.runtime import StartupError, background, bind

tracer = trace.get_tracer("heliograph_router")

_SERVICE = "heliograph.resolver.v1.Resolver"
_METHOD = f"{_SERVICE}/Resolve"
_ATTRIBUTES = {"rpc.system.name": "grpc", "rpc.method": _METHOD}
_OPTIONS = [
    ("grpc.so_reuseport", 0),  # otherwise two routers could share a port and split its calls
    ("grpc.server.max_pending_requests", 2_000),  # further calls are refused
    ("grpc.server.max_pending_requests_hard_limit", 4_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),  # registries ping every 20 s
]
_STATUSES = {
    Status.FOUND: pb.FOUND,
    Status.NOT_FOUND: pb.NOT_FOUND,
    Status.NOT_SYNCED: pb.NOT_SYNCED,
    Status.GO_UPSTREAM: pb.GO_UPSTREAM,
    Status.INVALID_KEY: pb.INVALID_KEY,
}
_OUTCOMES = {number: status.name.lower().replace("_", "-") for status, number in _STATUSES.items()}
_MAX_KEYS = 1_000
_DEFAULT_PEERS = 3
_MAX_PEERS = 100
_MAX_PEERS_IN_TOTAL = 10_000
_MAX_WAIT_S = 300.0
_STOP_S = 5.0
_HEALTH_S = 0.2

Resolve = Callable[[Query], Sequence[KeyAnswer]]
ResolveOrWait = Callable[[Query, float, OnParked], Awaitable[Sequence[KeyAnswer]]]
ListNodes = Callable[[], Iterator[LiveNode]]
CountTotals = Callable[[], Totals]
ListTags = Callable[[str, int], Awaitable[Listing]]
Readiness = Callable[[], str | None]
IsCurrent = Callable[[], bool]


class _Resolver(ResolverServicer):
    def __init__(
        self,
        resolve: Resolve,
        resolve_or_wait: ResolveOrWait,
        nodes: ListNodes,
        totals: CountTotals,
        tags: ListTags,
        readiness: Readiness,
        is_current: IsCurrent,
        metrics: RouterMetrics,
    ) -> None:
        self._tags, self._is_current = tags, is_current
        self._resolve, self._resolve_or_wait = resolve, resolve_or_wait
        self._nodes, self._totals, self._readiness = nodes, totals, readiness
        self._traced = telemetry.enabled()
        self._resolves_by_status = {status: metrics.resolves.labels(status.name.lower()) for status in Status}

    async def Resolve(self, request: Any, context: Any) -> Any:  # noqa: N802 - the method's name in the API
        if len(request.keys) > _MAX_KEYS:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{len(request.keys)} keys in a call, at most {_MAX_KEYS} are allowed",
            )
        if not self._traced:
            return await self._answer(request, context)
        caller = telemetry.extract(dict(context.invocation_metadata()))
        attributes = {
            **_ATTRIBUTES,
            "heliograph.node": request.node,
            "heliograph.keys": len(request.keys),
            "heliograph.wait_ms": request.wait_ms,
        }
        with tracer.start_as_current_span(
            _METHOD, context=caller, kind=trace.SpanKind.SERVER, attributes=attributes, record_exception=False
        ) as span:
            answer = await self._answer(request, context)
            span.set_attribute("rpc.response.status_code", "OK")
            if span.is_recording():
                statuses = {_OUTCOMES[found.status] for found in answer.resolutions}
                span.set_attribute("heliograph.outcome", sorted(statuses))
            return answer

    async def ListNodes(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        return pb.ListNodesResponse(
            nodes=[
                pb.Node(
                    node=node.name,
                    incarnation=node.incarnation,
                    sequence=node.sequence,
                    addresses=node.addresses,
                    zone=node.zone,
                    in_sync=node.in_sync,
                    lease_left_s=node.lease_left_s,
                    digests=node.digests,
                    tags=node.tags,
                    stale=node.stale,
                    namesake=_namesake(node),
                )
                for node in self._nodes()
            ]
        )

    async def Stats(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        totals = self._totals()
        return pb.StatsResponse(
            nodes=totals.nodes,
            nodes_in_sync=totals.nodes_in_sync,
            digests=totals.digests,
            pairs=totals.pairs,
            tags=totals.tags,
            ready=self._readiness() is None,
        )

    async def ListTags(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        listing = await self._tags(request.containing, min(request.most or DEFAULT_TAGS, MAX_TAGS))
        return pb.ListTagsResponse(
            tags=[
                pb.ClusterTag(tag_reference=tag.reference, digest=tag.digest, nodes=tag.nodes)
                for tag in listing.tags
            ],
            found=listing.found,
        )

    async def _answer(self, request: Any, context: Any) -> Any:
        if request.wait_ms:
            answers = await self._resolve_waiting(request, context)
        else:
            answers = self._resolve(_query(request))
        for answer in answers:
            self._resolves_by_status[answer.status].inc()
        return pb.ResolveResponse(resolutions=map(_resolution, answers), outdated=not self._is_current())

    async def _resolve_waiting(self, request: Any, context: Any) -> Sequence[KeyAnswer]:
        """A caller that has to wait gets the headers at once, so that it knows that this router is alive."""
        wait_s = min(request.wait_ms / 1000, _MAX_WAIT_S)
        try:
            return await self._resolve_or_wait(
                _query(request), wait_s, lambda: context.send_initial_metadata(())
            )
        except WaitAbandoned as error:
            trace.get_current_span().set_attribute("rpc.response.status_code", "UNAVAILABLE")
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            raise  # not reached, abort raises


@asynccontextmanager
async def serve_resolver(
    listen: Address,
    *,
    resolve: Resolve,
    resolve_or_wait: ResolveOrWait,
    nodes: ListNodes,
    totals: CountTotals,
    tags: ListTags,
    readiness: Readiness,
    is_current: IsCurrent,
    metrics: RouterMetrics,
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncIterator[None]:
    """Serve on `listen` while the body runs, then give running calls 5 s to finish. TLS with `credentials`.

    Raises `StartupError` if the address is in use or not one of this machine.
    """
    server = grpc.aio.server(options=_OPTIONS)
    add_ResolverServicer_to_server(
        _Resolver(resolve, resolve_or_wait, nodes, totals, tags, readiness, is_current, metrics), server
    )
    health_service = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_service, server)
    await _set_health(health_service, ready=False)
    bind(listen).close()  # fails with a readable error, which gRPC's is not
    try:
        address = str(Address(listen.host or "::", listen.port))
        if credentials is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise StartupError(f"cannot listen on {listen}: {error}") from error
    await server.start()
    try:
        async with background(_update_health(readiness, health_service)):
            yield
    finally:
        await health_service.enter_graceful_shutdown()
        await server.stop(_STOP_S)


async def _update_health(readiness: Readiness, health_service: Any) -> None:
    while True:
        await _set_health(health_service, ready=readiness() is None)
        await asyncio.sleep(_HEALTH_S)


async def _set_health(health_service: Any, *, ready: bool) -> None:
    serving = health_pb2.HealthCheckResponse
    for service in ("", _SERVICE):
        await health_service.set(service, serving.SERVING if ready else serving.NOT_SERVING)


def _query(request: Any) -> Query:
    max_holders = min(_MAX_PEERS, _MAX_PEERS_IN_TOTAL // max(1, len(request.keys)))
    return Query(
        keys=[_key(key) for key in request.keys],
        max_holders=min(request.max_peers or _DEFAULT_PEERS, max_holders),
        node=request.node,
        zone=request.zone,
        failed=frozenset(peer.node for peer in request.failed_peers),
    )


def _key(key: Any) -> Key:
    try:
        match key.WhichOneof("key"):
            case "digest":
                return ByDigest(parse_digest(key.digest))
            case "tag_reference":
                return ByTag(str(parse_tag_reference(key.tag_reference)))
    except (InvalidDigest, InvalidReference):
        pass
    return NotAKey()


def _namesake(node: LiveNode) -> Any:
    if node.namesake is None:
        return None
    return pb.Namesake(incarnation=node.namesake.incarnation, addresses=node.namesake.addresses)


def _resolution(answer: KeyAnswer) -> Any:
    return pb.Resolution(
        status=_STATUSES[answer.status],
        digest=answer.digest or "",
        size_bytes=answer.size_bytes,
        peers=[
            pb.Peer(
                node=holder.node,
                incarnation=holder.incarnation,
                addresses=holder.addresses,
                zone=holder.zone,
                size_bytes=holder.size_bytes,
            )
            for holder in answer.holders
        ],
    )
