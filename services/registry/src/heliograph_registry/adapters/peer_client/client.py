"""Peers' registries, over HTTP/1.1 on sockets of our own, so that a body can move within the kernel.

Heads are h11's business. No client header is passed on and no redirect is followed: a peer answers from its
own disk or not at all.
"""

import asyncio
import math
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import quote

import h11
from opentelemetry import trace

from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.adapters.peer_client.connections import (
    Connection,
    Connections,
    PeerTls,
    PlainConnection,
)
from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.ranges import ByteRange, Span, parse_content_range
from heliograph_registry.mirror.domain.stall import Side, StallDetector
from heliograph_registry.mirror.domain.target import Blob, ManifestByDigest, ManifestByTag
from heliograph_registry.mirror.errors import PeerFailed, RangeNotSatisfiable
from heliograph_shared import telemetry
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest

_MAX_HEAD_BYTES = 16 << 10
_PIECE_BYTES = 1 << 20
_DIGEST = b"docker-content-digest"
_STALLED = "sent next to nothing for too long"

tracer = trace.get_tracer("heliograph_registry")

Content = Blob | ManifestByDigest | ManifestByTag


class HttpPeers:
    def __init__(
        self,
        node: str,
        connections: Connections,
        *,
        stall_s: float,
        metrics: RegistryMetrics,
        authorization: Callable[[], str] | None = None,
    ) -> None:
        """`node` is this node's name, told to peers so that they answer from their own content.

        A peer that sends nothing for `stall_s` within a body has failed. `authorization` is the value of
        the header by which peers know us.
        """
        self._node, self._connections, self._stall_s = node, connections, stall_s
        self._answered, self._absent, self._failed = (
            metrics.peer_requests.labels(outcome) for outcome in ("answered", "absent", "failed")
        )
        self._authorization = authorization

    async def fetch(
        self, peer: Peer, target: Blob | ManifestByDigest, wanted: ByteRange | None
    ) -> "HttpStream":
        with _asking("GET") as span:
            exchange = await self._ask(peer, "GET", target, wanted, span)
            try:
                announced = _span(peer, exchange.response, wanted)
                stream = HttpStream(peer, exchange, announced, self._stall_s, span)
                await stream.begin()
            except BaseException:
                exchange.close()
                raise
            return stream

    async def size_of(self, peer: Peer, target: Blob) -> int:
        with _asking("HEAD") as span:
            exchange = await self._ask(peer, "HEAD", target, None, span)
            exchange.end(unread=0)
            length = _content_length(peer, exchange.response)
            span.end()
        return length

    async def digest_of(self, peer: Peer, target: ManifestByTag) -> Digest:
        with _asking("HEAD") as span:
            exchange = await self._ask(peer, "HEAD", target, None, span)
            exchange.end(unread=0)
            span.end()
        try:
            return parse_digest(_header(exchange.response, _DIGEST))
        except InvalidDigest as error:
            raise PeerFailed(peer.node, "answered without a digest") from error

    async def _ask(
        self,
        peer: Peer,
        method: str,
        target: Content,
        wanted: ByteRange | None,
        span: trace.Span,
    ) -> "_Exchange":
        """An exchange with an answer of 200 or 206. Raises `PeerFailed` or `RangeNotSatisfiable`."""
        try:
            exchange = await self._accepted(peer, method, target, wanted, span)
        except PeerFailed as error:
            (self._absent if error.healthy else self._failed).inc()
            raise
        self._answered.inc()
        return exchange

    async def _accepted(
        self,
        peer: Peer,
        method: str,
        target: Content,
        wanted: ByteRange | None,
        span: trace.Span,
    ) -> "_Exchange":
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
        except _NotHeard:  # the peer had closed it, as it may: not a failure of the peer
            span.set_attribute("http.request.resend_count", 1)
            connection = await self._connections.take(peer, fresh=True)
            exchange = await self._exchange(peer, connection, method, path, headers)
        span.set_attribute("http.response.status_code", exchange.response.status_code)
        try:
            _accept(peer, target, wanted, exchange.response)
        except BaseException:
            exchange.refused()
            raise
        return exchange

    async def _exchange(
        self, peer: Peer, connection: Connection, method: str, path: str, headers: list[tuple[str, str]]
    ) -> "_Exchange":
        head = [("host", str(connection.address)), *headers]
        exchange = _Exchange(peer, connection, self._connections)
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
    metrics: RegistryMetrics,
    authorization: Callable[[], str] | None = None,
    tls: PeerTls | None = None,
) -> AsyncIterator[HttpPeers]:
    """Own the connections for as long as they are used."""
    connections = Connections(tls)
    try:
        yield HttpPeers(node, connections, stall_s=stall_s, metrics=metrics, authorization=authorization)
    finally:
        connections.close()


class HttpStream:
    """A body with its first bytes in hand; the rest is read from `socket`, or moved and told by `skip`."""

    def __init__(
        self, peer: Peer, exchange: "_Exchange", span: Span, stall_s: float, traced: trace.Span
    ) -> None:
        """`traced` ends with the body."""
        self._peer, self._exchange, self._traced = peer, exchange, traced
        self.span, self.stall_s = span, stall_s
        self._first = b""
        self.left_bytes = span.count
        self._received, self._waited_s = 0, 0.0
        self._pace = StallDetector(0.0, source_s=stall_s, client_s=math.inf)

    async def begin(self) -> None:
        """Have the first bytes in hand. Raises `PeerFailed`."""
        if self.left_bytes:
            self._first = self._exchange.rest(self.left_bytes) or await self._receive(_MAX_HEAD_BYTES)

    @property
    def socket(self) -> socket.socket:
        connection = self._exchange.connection
        assert isinstance(connection, PlainConnection)  # nothing is spliced past an encryption
        return connection.socket

    def take_first(self) -> bytes:
        piece, self._first = self._first, b""
        self.left_bytes -= len(piece)
        return piece

    def skip(self, count: int) -> None:
        self.left_bytes -= count

    def failed(self, reason: str) -> PeerFailed:
        error = PeerFailed(self._peer.node, reason)
        telemetry.failed(self._traced, error)
        return error

    async def read(self, most: int = _PIECE_BYTES) -> bytes:
        if not self.left_bytes:
            return b""
        if self._first:
            return self.take_first()
        piece = await self._receive(most)
        self.left_bytes -= len(piece)
        return piece

    async def _receive(self, most: int) -> bytes:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.stall_s):
                wanted = min(self.left_bytes, most)
                piece = await self._exchange.connection.receive(wanted)
        except OSError as error:
            raise self.failed(_STALLED if isinstance(error, TimeoutError) else str(error)) from error
        if not piece:
            raise self.failed(f"ended with {self.left_bytes} bytes missing")
        self._received += len(piece)
        self._pace.waits_for(Side.SOURCE)
        self._waited_s += time.monotonic() - began  # only this counts against the peer
        if self._pace.stalled(self._received, self._waited_s, Side.SOURCE):
            raise self.failed(_STALLED)
        return piece

    def close(self) -> None:
        self._exchange.end(unread=self.left_bytes)
        if self._traced.is_recording():  # not when it has ended
            self._traced.set_attribute("http.response.body.size", self.span.count - self.left_bytes)
            self._traced.end()


@contextmanager
def _asking(method: str) -> Iterator[trace.Span]:
    """A client span, current while the body runs; it ends only if that fails, else with the exchange."""
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


class _NotHeard(PeerFailed):
    """A connection that had been idle ended before the first byte of an answer."""


class _Exchange:
    """One request and the head of its answer, on a connection that goes back when all has been read."""

    def __init__(self, peer: Peer, connection: Connection, connections: Connections) -> None:
        self._peer, self.connection, self._connections = peer, connection, connections
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._rest = b""
        self._closed = False
        self.response = h11.Response(status_code=500, headers=[])

    async def run(self, request: h11.Request) -> None:
        connection = self.connection
        heard = False
        try:
            head = self._protocol.send(request) or b""
            await connection.send(head + (self._protocol.send(h11.EndOfMessage()) or b""))
            while not isinstance(event := self._protocol.next_event(), h11.Response):
                if event is h11.NEED_DATA:
                    data = await connection.receive(_MAX_HEAD_BYTES)
                    heard = heard or bool(data)
                    self._protocol.receive_data(data)
        except (OSError, h11.ProtocolError) as error:
            kind = _NotHeard if self.connection.reused and not heard else PeerFailed
            raise kind(self._peer.node, str(error) or type(error).__name__) from error
        self.response = event
        self._rest = self._protocol.trailing_data[0]

    def rest(self, most: int) -> bytes:
        """The bytes of the body that came with the head."""
        piece, self._rest = self._rest[:most], self._rest[most:]
        return piece

    def refused(self) -> None:
        """End an answer that is of no use; its body is a short one, or the connection is not kept."""
        length = _header(self.response, b"content-length")
        self.end(unread=0 if length == str(len(self.rest(_MAX_HEAD_BYTES))) else 1)

    def end(self, *, unread: int) -> None:
        last = (
            self.response.http_version != b"1.1" or _header(self.response, b"connection").lower() == "close"
        )
        if self._closed or unread or self._rest or last:
            self.close()
            return
        self._closed = True
        self._connections.give_back(self.connection)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.connection.close()


def _path(target: Content) -> str:
    kind = "blobs" if isinstance(target, Blob) else "manifests"
    reference = target.tag if isinstance(target, ManifestByTag) else target.digest
    namespace = f"?ns={target.name.registry}" if target.name.registry else ""
    return f"/v2/{target.name.repository}/{kind}/{reference}{namespace}"


def _accept(peer: Peer, target: Content, wanted: ByteRange | None, response: h11.Response) -> None:
    """Only the very bytes that were asked for, of the digest that was asked for, not encoded."""
    if response.status_code == 416 and wanted is not None:
        size = _header(response, b"content-range").rpartition("/")[2]
        if size.isascii() and size.isdigit() and len(size) <= 19 and wanted.of(int(size)) is None:
            raise RangeNotSatisfiable(int(size))
    if response.status_code != (200 if wanted is None else 206):
        reason = _header(response, b"heliograph-reason")[:40]
        raise PeerFailed(
            peer.node,
            f"answered {response.status_code} {reason}".rstrip(),
            healthy=response.status_code in {404, 503},
            status=response.status_code,
        )
    if not isinstance(target, ManifestByTag) and _header(response, _DIGEST) != target.digest:
        raise PeerFailed(peer.node, "answered with another digest")
    if _header(response, b"content-encoding") or _header(response, b"transfer-encoding"):
        raise PeerFailed(peer.node, "answered with encoded bytes")


def _span(peer: Peer, response: h11.Response, wanted: ByteRange | None) -> Span:
    length = _content_length(peer, response)
    if wanted is None:
        return Span(0, length - 1, length)
    span = parse_content_range(_header(response, b"content-range"))
    if span is None or span.count != length or span != wanted.of(span.size_bytes):
        raise PeerFailed(peer.node, "answered with another range")
    return span


def _content_length(peer: Peer, response: h11.Response) -> int:
    length = _header(response, b"content-length")
    if not (length.isascii() and length.isdigit()) or len(length) > 19:
        raise PeerFailed(peer.node, "did not say how many bytes it sends")
    return int(length)


def _header(response: h11.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key == name), "")
