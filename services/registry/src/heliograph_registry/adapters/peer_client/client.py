"""Asks peers' registries for content, over HTTP/1.1 on plain sockets, so that bodies can be spliced.

No client header is passed on and no redirect is followed: a peer serves only what is on its own disk.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from urllib.parse import quote

import h11
from opentelemetry import trace

from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.adapters.peer_client.answer_checks import (
    DIGEST,
    PeerTarget,
    announced_span,
    check_answer,
    check_manifest_size,
    content_length,
    header,
)
from heliograph_registry.adapters.peer_client.connections import Connection, Connections, PeerTls
from heliograph_registry.adapters.peer_client.exchange import ConnectionLost, PeerExchange
from heliograph_registry.adapters.peer_client.stream import HttpStream
from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.ranges import ByteRange
from heliograph_registry.mirror.domain.target import Blob, ManifestByDigest, ManifestByTag
from heliograph_registry.mirror.errors import PeerFailed
from heliograph_shared import telemetry
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest

tracer = trace.get_tracer("heliograph_registry")


class HttpPeers:
    def __init__(
        self,
        node: str,
        connections: Connections,
        *,
        stall_s: float,
        slow_below: Callable[[str], float],
        metrics: RegistryMetrics,
        authorization: Callable[[], str] | None = None,
    ) -> None:
        """`node` is this node's name. Peers are told it, so that they answer only from their own content.

        A peer that sends almost nothing of a body for `stall_s` has failed; one that sends less than
        `slow_below(node)` bytes per second is slow. `authorization` gives the value of the `Authorization`
        header.
        """
        self._node, self._connections = node, connections
        self._stall_s, self._slow_below = stall_s, slow_below
        self._answered, self._absent, self._failed = (
            metrics.peer_requests.labels(outcome) for outcome in ("answered", "absent", "failed")
        )
        self._authorization = authorization

    async def fetch(
        self, peer: Peer, target: Blob | ManifestByDigest, wanted: ByteRange | None
    ) -> HttpStream:
        with _client_span("GET") as span:
            exchange = await self._ask(peer, "GET", target, wanted, span)
            try:
                announced = announced_span(peer, exchange.response, wanted)
                check_manifest_size(peer, target, announced.size_bytes)
                slow_below = partial(self._slow_below, peer.node)
                stream = HttpStream(
                    peer, exchange, announced, span, stall_s=self._stall_s, slow_below=slow_below
                )
                await stream.begin()
            except BaseException:
                exchange.close()
                raise
            return stream

    async def size_of(self, peer: Peer, target: Blob) -> int:
        with _client_span("HEAD") as span:
            exchange = await self._ask(peer, "HEAD", target, None, span)
            exchange.end(unread=0)
            length = content_length(peer, exchange.response)
            span.end()
        return length

    async def digest_of(self, peer: Peer, target: ManifestByTag) -> Digest:
        with _client_span("HEAD") as span:
            exchange = await self._ask(peer, "HEAD", target, None, span)
            exchange.end(unread=0)
            span.end()
        try:
            return parse_digest(header(exchange.response, DIGEST))
        except InvalidDigest as error:
            raise PeerFailed(peer.node, "answered without a digest") from error

    async def _ask(
        self, peer: Peer, method: str, target: PeerTarget, wanted: ByteRange | None, span: trace.Span
    ) -> PeerExchange:
        """An exchange with an answer of 200 or 206. Raises `PeerFailed` or `RangeNotSatisfiable`."""
        try:
            exchange = await self._accepted(peer, method, target, wanted, span)
        except PeerFailed as error:
            (self._absent if error.healthy else self._failed).inc()
            raise
        self._answered.inc()
        return exchange

    async def _accepted(
        self, peer: Peer, method: str, target: PeerTarget, wanted: ByteRange | None, span: trace.Span
    ) -> PeerExchange:
        connection = await self._connections.take(peer)
        path = _path(target)
        if span.is_recording():
            span.set_attributes(
                {
                    "http.request.method": method,
                    "url.full": f"{connection.scheme}://{connection.address}{path}",
                    "server.address": connection.address.host,
                    "server.port": connection.address.port,
                    "heliograph.peer": peer.node,
                }
            )
        headers = [("heliograph-peer", quote(self._node)), *telemetry.inject().items()]
        if self._authorization is not None:
            headers.append(("authorization", self._authorization()))
        if wanted is not None:
            headers.append(("range", str(wanted)))
            span.set_attribute("http.request.header.range", [str(wanted)])
        try:
            exchange = await self._exchange(peer, connection, method, path, headers)
        except ConnectionLost:  # the peer closed an idle connection, which is no failure: try a new one
            span.set_attribute("http.request.resend_count", 1)
            connection = await self._connections.take(peer, fresh=True)
            exchange = await self._exchange(peer, connection, method, path, headers)
        span.set_attribute("http.response.status_code", exchange.response.status_code)
        try:
            check_answer(peer, target, wanted, exchange.response)
        except BaseException:
            exchange.end_refused()
            raise
        return exchange

    async def _exchange(
        self, peer: Peer, connection: Connection, method: str, path: str, headers: list[tuple[str, str]]
    ) -> PeerExchange:
        head = [("host", str(connection.address)), *headers]
        exchange = PeerExchange(peer, connection, self._connections)
        try:
            await exchange.run(h11.Request(method=method, target=path, headers=head))
        except BaseException:
            exchange.close()
            raise
        return exchange


@asynccontextmanager
async def open_peers(
    node: str,
    *,
    stall_s: float,
    slow_below: Callable[[str], float],
    metrics: RegistryMetrics,
    authorization: Callable[[], str] | None = None,
    tls: PeerTls | None = None,
    connect_s: float = 0.2,
) -> AsyncIterator[HttpPeers]:
    """`HttpPeers` with connections of their own; `connect_s` is the time limit for one of them."""
    connections = Connections(tls, connect_s=connect_s)
    try:
        yield HttpPeers(
            node,
            connections,
            stall_s=stall_s,
            slow_below=slow_below,
            metrics=metrics,
            authorization=authorization,
        )
    finally:
        connections.close()


@contextmanager
def _client_span(method: str) -> Iterator[trace.Span]:
    """A client span, current while the body runs. It ends here only on an error, else with the exchange."""
    if not telemetry.exporting():
        yield trace.INVALID_SPAN
        return
    span = tracer.start_span(method, kind=trace.SpanKind.CLIENT)
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except BaseException as error:
            status = error.status if isinstance(error, PeerFailed) else 0
            telemetry.failed(span, error, str(status or ""))
            span.end()
            raise


def _path(target: PeerTarget) -> str:
    kind = "blobs" if isinstance(target, Blob) else "manifests"
    reference = target.tag if isinstance(target, ManifestByTag) else target.digest
    namespace = f"?ns={target.name.registry}" if target.name.registry else ""
    return f"/v2/{target.name.repository}/{kind}/{reference}{namespace}"
