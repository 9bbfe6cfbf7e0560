"""Adds to uvicorn what a mirror needs: zero-copy sending, and responses that end early without an RST.

There are two ASGI extensions, offered on unencrypted connections. Both messages are sent after a response
start with a Content-Length, and count against it. They may raise `SourceFailed` or `ClientGone`; the
message's `moved` then has the bytes sent so far. After `SourceSlow`, a splice of the same socket can go on.
    http.response.zerocopysend   {"file", "offset", "count"}             (ASGI extensions, "Zero Copy Send")
    heliograph.response.splice   {"socket", "count", "stall"}            from a peer's socket

When a connection with unread input is closed, the kernel sends an RST, and containerd fails the pull; after
a FIN it resumes. So a response that cannot be completed ends with `shutdown(SHUT_WR)`. Further input is read
and dropped, until the client closes the connection or 5 s have passed.

A client may close its sending half after its request and still gets its answer. Over TLS asyncio cannot do
that: it closes the connection.

Private names of uvicorn that this relies on: `send.__self__`, `cycle.expected_content_length`,
`cycle.keep_alive`, `flow`.
"""

import asyncio
import fcntl
import socket
import termios
from array import array
from collections.abc import Callable
from typing import Any

import orjson
import structlog

from heliograph_registry.adapters.http_server.pump import Pumps
from heliograph_registry.adapters.http_server.transfer import FileTransfer, SpliceTransfer, Transfer
from heliograph_registry.mirror.errors import ClientGone, SourceFailed, StreamBroken
from heliograph_shared.limited_http import LimitedProtocol

log = structlog.get_logger()

ZERO_COPY, SPLICE = "http.response.zerocopysend", "heliograph.response.splice"
_EXTENSIONS: dict[str, dict[str, Any]] = {ZERO_COPY: {}, SPLICE: {}}
_LINGER_S = 5.0
_SILENT_HALF_CLOSED_S = 5.0
"""A client that has closed its sending half and one that is gone look alike until something is sent. After so
many seconds with nothing to send it counts as gone."""
_TCP_CLOSE_WAIT = 8  # include/net/tcp_states.h

_MOST_UNSENT_BYTES = 1 << 20
"""For each connection, in the kernel. Bytes that are sent but not yet acknowledged come on top."""

_TLS_SEND_BUFFER_BYTES = 128 << 10  # in the kernel, which doubles it (socket(7))
_TLS_WRITE_BUFFER_BYTES = 64 << 10  # in the process; if it is full the app waits (uvloop's default: 512 KiB)

AnswerFromCache = Callable[[bytes, list[tuple[bytes, bytes]]], bytes | None]
"""From a GET's URL and headers: the rest of the response after status line and date; None if not cached."""


def bound_memory(listening: socket.socket, *, encrypted: bool = False) -> None:
    """Limit how much unsent data slow clients may pile up in the kernel, which charges it to the container.

    Unlike a fixed send buffer, this leaves the amount in flight to TCP; pumps limit that. Pumps do not send
    `encrypted` data, so for it the buffer is fixed. Connections inherit both options from `listening`.
    """
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT_BYTES)
    if encrypted:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _TLS_SEND_BUFFER_BYTES)


class MirrorProtocol(LimitedProtocol):
    """For `uvicorn.Config(http=...)`. The app may raise `StreamBroken` once it has started its response.

    The app is cancelled when the client disconnects.
    """

    def __init__(self, *args: Any, pumps: Pumps, from_cache: AnswerFromCache, **kwargs: Any) -> None:
        """`from_cache` is asked first; what it returns is sent without calling the app."""
        super().__init__(*args, **kwargs)
        self._pumps, self._from_cache = pumps, from_cache
        self._inner, self.app = self.app, self._guarded
        self._answering: asyncio.Task[None] | None = None
        self._half_closed = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self.scheme == "https":
            self.transport.set_write_buffer_limits(_TLS_WRITE_BUFFER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # marks a running cycle as disconnected
        if self._answering is not None:
            self._answering.cancel()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more. True if the transport has to stay open, for an answer under way."""
        cycle: Any = self.cycle  # of the last request; earlier ones are answered before it
        if not self.busy or cycle.disconnected or self.scheme == "https":
            return False
        self._half_closed, cycle.keep_alive = True, False
        self._check_later(self._acknowledged_bytes())
        return True

    def _check_later(self, acknowledged: int) -> None:
        self.loop.call_later(_SILENT_HALF_CLOSED_S, self._check_half_closed, acknowledged)

    def _check_half_closed(self, before: int) -> None:
        if self.transport.is_closing():
            return
        acknowledged, client = self._acknowledged_bytes(), self.transport.get_extra_info("socket")
        silent = acknowledged == before and not _unacknowledged_bytes(client)
        if silent or _was_reset(client):
            self.transport.close()
        else:
            self._check_later(acknowledged)

    def answer(self) -> None:
        plain = self.parser.get_method() == b"GET" and self.parser.should_keep_alive()
        ready = plain and not self.busy and not self.transport.get_write_buffer_size()
        answer = self._from_cache(self.url, self.headers) if ready else None
        if answer is None or self.parser.get_http_version() != "1.1":
            super().answer()
            return
        self.transport.write(_status_and_date(self.server_state.default_headers) + answer)
        self.on_response_complete()  # counts the request, and starts the idle timeout

    def refusal(self, message: str) -> tuple[list[str], bytes]:
        """Header lines and body of the spec's error, for a request that cannot be parsed."""
        body = orjson.dumps({"errors": [{"code": "UNSUPPORTED", "message": message, "detail": {}}]})
        source = ["heliograph-source: none", "heliograph-reason: invalid"]
        return ["content-type: application/json", *source], body

    async def _guarded(self, scope: Any, receive: Any, send: Any) -> None:
        cycle = send.__self__
        self._answering = asyncio.current_task()
        if self.scheme != "https":  # the kernel would send clear text
            scope["extensions"] = _EXTENSIONS

        async def extended(message: Any) -> None:
            kind = message["type"]
            if kind == ZERO_COPY:
                await self._send_file(cycle, message)
            elif kind == SPLICE:
                await self._splice(cycle, message)
            else:
                await send(message)

        try:
            await self._inner(scope, receive, extended)
        except StreamBroken as error:
            log.warning("response cut short", path=scope["path"], reason=str(error))
            self._end_early(cycle)
        except ClientGone as error:
            log.debug("client gone", path=scope["path"], reason=str(error))
            self._end_early(cycle)
        except asyncio.CancelledError:
            if not cycle.disconnected:
                log.warning("response cut short", path=scope["path"], reason="shutting down")
                self._end_early(cycle)
        finally:
            self._answering = None

    async def _send_file(self, cycle: Any, message: Any) -> None:
        client = await self._drained(cycle)
        file, offset, count = message["file"].fileno(), message["offset"], message["count"]
        self._expect(cycle, count)
        await self._move(lambda: FileTransfer(client, file, offset, count), message)
        cycle.expected_content_length -= count

    async def _splice(self, cycle: Any, message: Any) -> None:
        client = await self._drained(cycle)
        count = message["count"]
        self._expect(cycle, count)
        source, stall = message["socket"].fileno(), message["stall"]
        try:
            await self._move(lambda: SpliceTransfer(client, source, count, stall=stall), message)
        finally:
            cycle.expected_content_length -= message["moved"]

    async def _move(self, begin: Callable[[], Transfer], message: Any) -> None:
        try:
            transfer = begin()
        except OSError as error:
            raise SourceFailed(str(error), error.errno or 0) from error
        try:
            await self._pumps.move(transfer)
        finally:
            message["moved"] = transfer.moved

    @staticmethod
    def _expect(cycle: Any, count: int) -> None:
        if cycle.chunked_encoding or not 0 < count <= cycle.expected_content_length:
            raise RuntimeError("zero-copy needs a Content-Length that covers it")

    async def _drained(self, cycle: Any) -> int:
        """The client's socket, once all that was written before is in the kernel. Raises `ClientGone`."""
        if self.transport.get_write_buffer_size():
            self.transport.set_write_buffer_limits(0)  # so that drain() waits until nothing is left
            await self.flow.drain()
            self.transport.set_write_buffer_limits()
        if cycle.disconnected:
            raise ClientGone("disconnected")
        client: int = self.transport.get_extra_info("socket").fileno()
        return client

    def _end_early(self, cycle: Any) -> None:
        cycle.disconnected = True  # so that uvicorn neither completes nor closes this response
        self._ending = True
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.transport.can_write_eof() and not self._half_closed:
            self.transport.write_eof()
            self.loop.call_later(_LINGER_S, self.transport.close)
        else:
            # No input is left unread: TLS sends its own close, and reads until the client's arrives.
            self.transport.close()


def _status_and_date(default_headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + b"".join(b"%s: %s\r\n" % header for header in default_headers)


def _unacknowledged_bytes(client: socket.socket) -> int:
    """Bytes that the kernel still holds for the client, sent or not (SIOCOUTQ, tcp(7))."""
    count = array("i", [0])
    fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, count)
    return count[0]


def _was_reset(client: socket.socket) -> bool:
    """Whether a connection whose other end has sent a FIN has since had an RST; nobody reads from it."""
    return client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _TCP_CLOSE_WAIT
