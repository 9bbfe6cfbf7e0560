"""The resolver API v1 over gRPC, with the standard health service beside it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry import trace

from heliograph_router.adapters.metrics import Metrics
from heliograph_router.catalogue import DEFAULT_TAGS, MOST_TAGS, Listing
from heliograph_router.domain.cluster import Node, Totals
from heliograph_router.domain.resolution import ByDigest, ByTag, Key, NotAKey, Query, Resolution, Status
from heliograph_router.errors import Stopping
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
    ("grpc.so_reuseport", 0),  # else two routers share a port, and each gets some of the calls
    ("grpc.server.max_pending_requests", 2_000),  # beyond them calls are refused, with a status that says so
    ("grpc.server.max_pending_requests_hard_limit", 4_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),  # a registry asks every 20 s if we live
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
_MAX_PEERS_IN_ALL = 10_000
_MOST_WAIT_S = 300.0
_STOP_S = 5.0
_HEALTH_S = 0.2

Resolve = Callable[[Query], Sequence[Resolution]]
ResolveOrWait = Callable[[Query, float, OnParked], Awaitable[Sequence[Resolution]]]
ListNodes = Callable[[], Iterator[Node]]
CountTotals = Callable[[], Totals]
ListTags = Callable[[str, int], Awaitable[Listing]]
Readiness = Callable[[], str | None]


class _Resolver(ResolverServicer):
    def __init__(
        self,
        resolve: Resolve,
        resolve_or_wait: ResolveOrWait,
        nodes: ListNodes,
        totals: CountTotals,
        tags: ListTags,
        readiness: Readiness,
        metrics: Metrics,
    ) -> None:
        self._tags = tags
        self._resolve, self._resolve_or_wait = resolve, resolve_or_wait
        self._nodes, self._totals, self._readiness = nodes, totals, readiness
        self._traced = telemetry.enabled()
        self._answered = {status: metrics.resolves.labels(status.name.lower()) for status in Status}

    async def Resolve(self, request: Any, context: Any) -> Any:  # noqa: N802 - the method's name in the API
        if len(request.keys) > _MAX_KEYS:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{len(request.keys)} keys, at most {_MAX_KEYS} are answered",
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
        listing = await self._tags(request.containing, min(request.most or DEFAULT_TAGS, MOST_TAGS))
        return pb.ListTagsResponse(
            tags=[
                pb.ClusterTag(tag_reference=tag.reference, digest=tag.digest, nodes=tag.nodes)
                for tag in listing.tags
            ],
            found=listing.found,
        )

    async def _answer(self, request: Any, context: Any) -> Any:
        if request.wait_ms:
            answers = await self._waited(request, context)
        else:
            answers = self._resolve(_query(request))
        for answer in answers:
            self._answered[answer.status].inc()
        return pb.ResolveResponse(resolutions=map(_resolution, answers))

    async def _waited(self, request: Any, context: Any) -> Sequence[Resolution]:
        """A caller that has to wait is sent the headers at once: then it need not doubt that we live."""
        wait_s = min(request.wait_ms / 1000, _MOST_WAIT_S)
        try:
            return await self._resolve_or_wait(
                _query(request), wait_s, lambda: context.send_initial_metadata(())
            )
        except Stopping as error:
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
    metrics: Metrics,
    credentials: grpc.ServerCredentials | None = None,
) -> AsyncIterator[None]:
    """Answer on `listen` while the body runs, then let calls finish for 5 s; encrypted with `credentials`.

    Raises `StartupError` when the address is taken or not of this machine.
    """
    server = grpc.aio.server(options=_OPTIONS)
    add_ResolverServicer_to_server(
        _Resolver(resolve, resolve_or_wait, nodes, totals, tags, readiness, metrics), server
    )
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await _report(checks, ready=False)
    bind(listen).close()  # gRPC would not say what is wrong with an address
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
        async with background(_follow(readiness, checks)):
            yield
    finally:
        await checks.enter_graceful_shutdown()
        await server.stop(_STOP_S)


async def _follow(readiness: Readiness, checks: Any) -> None:
    while True:
        await _report(checks, ready=readiness() is None)
        await asyncio.sleep(_HEALTH_S)


async def _report(checks: Any, *, ready: bool) -> None:
    serving = health_pb2.HealthCheckResponse
    for service in ("", _SERVICE):
        await checks.set(service, serving.SERVING if ready else serving.NOT_SERVING)


def _query(request: Any) -> Query:
    most = min(_MAX_PEERS, _MAX_PEERS_IN_ALL // max(1, len(request.keys)))
    return Query(
        keys=[_key(key) for key in request.keys],
        max_peers=min(request.max_peers or _DEFAULT_PEERS, most),
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
                parse_tag_reference(key.tag_reference)
                return ByTag(key.tag_reference)
    except (InvalidDigest, InvalidReference):
        pass
    return NotAKey()


def _resolution(answer: Resolution) -> Any:
    return pb.Resolution(
        status=_STATUSES[answer.status],
        digest=answer.digest or "",
        size_bytes=answer.size_bytes,
        peers=[
            pb.Peer(node=peer.node, incarnation=peer.incarnation, addresses=peer.addresses, zone=peer.zone)
            for peer in answer.peers
        ],
    )
