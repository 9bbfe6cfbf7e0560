"""Peers' registries, over HTTP/1.1 on sockets of our own.

Heads are h11's business; bodies are read from the socket, one connection for each request. No client header
is passed on and no redirect is followed: a peer answers from its own disk or not at all.
"""

import asyncio
import socket
from functools import partial
from typing import Any
from urllib.parse import quote

import h11
from opentelemetry import trace

from heliograph_registry.domain.peer import Peer
from heliograph_registry.domain.ranges import ByteRange, Span, parse_content_range
from heliograph_registry.domain.target import Blob, ManifestByDigest
from heliograph_registry.errors import PeerFailed, RangeNotSatisfiable
from heliograph_registry.racing import race
from heliograph_shared import telemetry
from heliograph_shared.address import Address, InvalidAddress

_CONNECT_TIMEOUT_S = 0.2
_ADDRESS_STAGGER_S = 0.05
_STALL_TIMEOUT_S = 10.0
_MAX_HEAD_BYTES = 16 << 10
_PIECE_BYTES = 1 << 20

tracer = trace.get_tracer("heliograph_registry")


class HttpPeers:
    def __init__(self, node: str) -> None:
        """`node` is this node's name, told to peers so that they answer from their own content."""
        self._node = node

    async def fetch(
        self, peer: Peer, target: Blob | ManifestByDigest, wanted: ByteRange | None
    ) -> "HttpStream":
        with tracer.start_as_current_span("GET", kind=trace.SpanKind.CLIENT, record_exception=False) as span:
            stream = await self._get(peer, target, wanted, span)
            try:
                await stream.first()
            except BaseException:
                stream.close()
                raise
            return stream

    async def size_of(self, peer: Peer, target: Blob) -> int:
        with tracer.start_as_current_span("HEAD", kind=trace.SpanKind.CLIENT, record_exception=False) as span:
            connection, response = await self._ask(peer, "HEAD", target, None, span)
            connection.close()
            return _content_length(peer, response)

    async def _get(
        self, peer: Peer, target: Blob | ManifestByDigest, wanted: ByteRange | None, span: trace.Span
    ) -> "HttpStream":
        connection, response = await self._ask(peer, "GET", target, wanted, span)
        try:
            announced = _span(peer, response, wanted)
        except BaseException:
            connection.close()
            raise
        return HttpStream(peer, connection, announced)

    async def _ask(
        self,
        peer: Peer,
        method: str,
        target: Blob | ManifestByDigest,
        wanted: ByteRange | None,
        span: trace.Span,
    ) -> tuple["_Connection", h11.Response]:
        """The peer's answer with a status of 200 or 206. Raises `PeerFailed` or `RangeNotSatisfiable`."""
        address, connected = await _connect(peer)
        path = _path(target)
        if span.is_recording():
            span.set_attributes(
                {
                    "http.request.method": method,
                    "url.full": f"http://{address}{path}",
                    "server.address": address.host,
                    "server.port": address.port,
                    "heliograph.peer": peer.node,
                }
            )
        connection = _Connection(peer, connected)
        try:
            headers = [
                ("host", str(address)),
                ("heliograph-peer", quote(self._node)),
                *telemetry.inject().items(),
            ]
            if wanted is not None:
                headers.append(("range", str(wanted)))
            response = await connection.exchange(
                h11.Request(method=method, target=path, headers=[*headers, ("connection", "close")])
            )
            span.set_attribute("http.response.status_code", response.status_code)
            _accept(peer, target, wanted, response)
        except BaseException:
            connection.close()
            raise
        return connection, response


class HttpStream:
    def __init__(self, peer: Peer, connection: "_Connection", span: Span) -> None:
        self._peer, self._connection, self.span = peer, connection, span
        self._left = span.count
        self._first: bytes | None = None

    async def first(self) -> None:
        """Have the first bytes in hand. Raises `PeerFailed`."""
        self._first = await self._receive()

    async def read(self) -> bytes:
        piece, self._first = self._first, None
        if piece is None:
            piece = await self._receive()
        return piece

    async def _receive(self) -> bytes:
        if not self._left:
            return b""
        piece = await self._connection.receive(min(self._left, _PIECE_BYTES))
        if not piece:
            raise PeerFailed(self._peer.node, f"ended with {self._left} bytes missing")
        self._left -= len(piece)
        return piece

    def close(self) -> None:
        self._connection.close()


class _Connection:
    def __init__(self, peer: Peer, connected: socket.socket) -> None:
        self._peer, self._socket = peer, connected
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._rest = b""

    async def exchange(self, request: h11.Request) -> h11.Response:
        loop = asyncio.get_running_loop()
        try:
            head = self._protocol.send(request) or b""
            await loop.sock_sendall(self._socket, head + (self._protocol.send(h11.EndOfMessage()) or b""))
            while True:
                event = self._protocol.next_event()
                if isinstance(event, h11.Response):
                    self._rest = self._protocol.trailing_data[0]
                    return event
                if event is h11.NEED_DATA:
                    self._protocol.receive_data(await loop.sock_recv(self._socket, _MAX_HEAD_BYTES))
        except (OSError, h11.ProtocolError) as error:
            raise PeerFailed(self._peer.node, str(error) or type(error).__name__) from error

    async def receive(self, count: int) -> bytes:
        """At most `count` bytes of the body, empty at the end of the connection. Raises `PeerFailed`."""
        if self._rest:
            piece, self._rest = self._rest[:count], self._rest[count:]
            return piece
        try:
            async with asyncio.timeout(_STALL_TIMEOUT_S):
                return await asyncio.get_running_loop().sock_recv(self._socket, count)
        except OSError as error:
            reason = "sent nothing for too long" if isinstance(error, TimeoutError) else str(error)
            raise PeerFailed(self._peer.node, reason) from error

    def close(self) -> None:
        self._socket.close()


async def _connect(peer: Peer) -> tuple[Address, socket.socket]:
    attempts = [partial(_connect_to, peer, text) for text in peer.addresses]
    return await race(
        attempts,
        stagger_s=_ADDRESS_STAGGER_S,
        discard=lambda late: late[1].close(),
        failures=(PeerFailed,),
    )


async def _connect_to(peer: Peer, text: str) -> tuple[Address, socket.socket]:
    loop = asyncio.get_running_loop()
    try:
        address = Address.parse(text)
        text.encode("ascii")  # it becomes the Host header
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            connected = await race(
                [partial(_connected, *entry) for entry in found],
                stagger_s=_ADDRESS_STAGGER_S,
                discard=socket.socket.close,
                failures=(OSError,),
            )
    except (OSError, InvalidAddress, UnicodeError) as error:
        raise PeerFailed(peer.node, f"{text}: {str(error) or 'no connection in time'}") from error
    return address, connected


async def _connected(family: int, kind: int, protocol: int, _name: str, target: Any) -> socket.socket:
    connecting = socket.socket(family, kind, protocol)
    try:
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connecting, target)
    except BaseException:
        connecting.close()
        raise
    return connecting


def _path(target: Blob | ManifestByDigest) -> str:
    kind = "blobs" if isinstance(target, Blob) else "manifests"
    namespace = f"?ns={target.name.registry}" if target.name.registry else ""
    return f"/v2/{target.name.repository}/{kind}/{target.digest}{namespace}"


def _accept(
    peer: Peer, target: Blob | ManifestByDigest, wanted: ByteRange | None, response: h11.Response
) -> None:
    """Only the very bytes that were asked for, of the digest that was asked for, not encoded."""
    if response.status_code == 416 and wanted is not None:
        size = _header(response, b"content-range").rpartition("/")[2]
        if size.isascii() and size.isdigit() and len(size) <= 19 and wanted.of(int(size)) is None:
            raise RangeNotSatisfiable(int(size))
    if response.status_code != (200 if wanted is None else 206):
        reason = _header(response, b"heliograph-reason")[:40]
        raise PeerFailed(peer.node, f"answered {response.status_code} {reason}".rstrip())
    if _header(response, b"docker-content-digest") != target.digest:
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
