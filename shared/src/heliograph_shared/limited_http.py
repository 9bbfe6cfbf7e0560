"""uvicorn's protocol with limits per client: number of connections, size of request heads, and time.

uvicorn accepts a head of any size, and waits for ever for its end or for a client that stops reading. Most
limits are checked for all connections every few seconds, which costs requests nothing.

It relies on private names of uvicorn: `connections`, `cycle`, `headers`, `timeout_keep_alive_task`.
"""

import asyncio
import socket
import sys
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_EVICTED_SHARE = 20
"""At the limit, one in so many connections is closed: idle ones, longest idle first."""

_LINGER_S = 5.0
"""After this time even a slow client has received its last answer."""

_BYTES_ACKED = slice(120, 128)  # of struct tcp_info, include/uapi/linux/tcp.h

limited = Counter(
    "heliograph_http_limited_total",
    "Connections closed at a limit: too many, head too large, head or body too slow, idle, or stalled",
    ["limit"],
    registry=None,  # see `admin`
)


@dataclass(frozen=True, slots=True)
class Limits:
    """One read, at most 256 KiB, may exceed `head_bytes` before the head is refused."""

    connections: int = 64
    head_bytes: int = 32 << 10
    headers: int = 100
    head_s: float = 10.0
    """Seconds from the first to the last byte of a head, and as many for a body that an answer needs."""
    idle_s: float = 75.0
    """Seconds until the first byte of the first request; between requests uvicorn's keep-alive applies."""
    stall_s: float = 120.0
    """Seconds a client may accept no bytes while output is pending."""

    @property
    def check_interval_s(self) -> float:
        """Seconds between two checks of all connections."""
        return min(self.head_s, self.idle_s, self.stall_s) / 4


class LimitedProtocol(HttpToolsProtocol):
    """A subclass overrides `answer`, not `on_headers_complete`."""

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._made_at = self.loop.time()
        self._head_bytes = 0  # of a head that is not complete yet
        self._head_since: float | None = None
        self._body_since: float | None = None  # of a request whose body has not come yet
        self._unsent, self._unsent_at = (0, 0), 0.0
        self._ending = False

    @property
    def busy(self) -> bool:
        """True while a request is being answered."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    @property
    def _never_asked(self) -> bool:
        cycle: Any = self.cycle
        return cycle is None and self.timeout_keep_alive_task is None

    @property
    def idle_since(self) -> float:
        keep_alive = self.timeout_keep_alive_task
        return self._made_at if keep_alive is None else keep_alive.when() - self.timeout_keep_alive

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > self._limits.head_bytes:
            self._too_large()
        elif not (self.busy or self._head_bytes or self.timeout_keep_alive_task or self._ending):
            # the end of a body that came after its answer; uvicorn took it for the next request
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_headers_complete(self) -> None:
        came_bytes, self._head_bytes, self._head_since = self._head_bytes, 0, None
        if self._ending:
            return
        large = came_bytes > self._limits.head_bytes and self._size_bytes() > self._limits.head_bytes
        if large or len(self.headers) > self._limits.headers:
            self._too_large()
            return
        if not self._names_one_host():
            self.refuse(400, "Bad Request", "the request must have one Host header")
            return
        self._body_since = self.loop.time()
        self.answer()

    def answer(self) -> None:
        """Answer the request, whose head is complete."""
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes, self._body_since = 0, None
        if self.cycle is not None:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self.refuse(400, "Bad Request", msg)

    def refuse(self, status: int, phrase: str, message: str) -> None:
        """Answer with an error and close; if a request is being answered, only close after that."""
        self._ending = True
        if self.busy:
            self.cycle.keep_alive = False
            return
        headers, body = self.refusal(message)
        lines = [f"HTTP/1.1 {status} {phrase}", *headers, "connection: close", f"content-length: {len(body)}"]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()

    def refusal(self, message: str) -> tuple[list[str], bytes]:
        """Header lines and body of the answer to bytes that are not a request."""
        return ["content-type: text/plain; charset=utf-8"], message.encode()

    def enforce_limits(self, now: float) -> None:
        """Close the connection if it is over a time limit; called every `Limits.check_interval_s`."""
        if self._is_stalled(now):
            limited.labels("stalled").inc()
            self.transport.abort()
        elif self._body_is_late(now):
            limited.labels("slow-body").inc()
            self.transport.abort()
        elif self.transport.is_closing() or self._ending:
            return
        elif self._head_bytes:
            if self._head_since is None:
                self._head_since = now
            elif now - self._head_since >= self._limits.head_s:
                limited.labels("slow-head").inc()
                self._end()
        elif self._never_asked and now - self._made_at >= self._limits.idle_s:
            limited.labels("idle").inc()
            self._end()

    def _is_stalled(self, now: float) -> bool:
        unsent_bytes = self.transport.get_write_buffer_size()
        unsent = (unsent_bytes, self._acknowledged_bytes() if unsent_bytes else 0)
        if unsent != self._unsent:
            self._unsent, self._unsent_at = unsent, now
        return bool(unsent_bytes) and now - self._unsent_at >= self._limits.stall_s

    def _body_is_late(self, now: float) -> bool:
        """True if the answer has not begun because the body is incomplete, for too long."""
        since = self._body_since
        if since is None or not self.busy or self.cycle.response_started:
            return False
        return now - since >= self._limits.head_s

    def _acknowledged_bytes(self) -> int:
        """Bytes that the client has acknowledged so far, 0 if the kernel does not tell.

        The transport's buffer size does not show progress over TLS: it stays the same while pieces of equal
        size are queued, however fast the client takes them.
        """
        connected = self.transport.get_extra_info("socket")
        if connected is None:  # lost a moment ago
            return 0
        try:
            info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.stop)
        except OSError:
            return 0
        return int.from_bytes(info[_BYTES_ACKED], sys.byteorder)

    def _names_one_host(self) -> bool:
        """Whether the head has the Host header that HTTP requires, once (RFC 9112 section 3.2)."""
        count = [name for name, _ in self.headers].count(b"host")
        return count == 1 or (count == 0 and self.parser.get_http_version() == "1.0")

    def _size_bytes(self) -> int:
        """Size of the complete head alone: a body or the next head may have come with it."""
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _too_large(self) -> None:
        limited.labels("head").inc()
        self.refuse(431, "Request Header Fields Too Large", "the request's head is too large")

    def _make_room(self) -> None:
        limited.labels("connections").inc()
        idle = [
            other
            for other in self.connections
            if isinstance(other, LimitedProtocol)
            and other is not self
            and not (other.busy or other.transport.get_write_buffer_size())
        ]
        if not idle:
            self._end()
        for other in sorted(idle, key=lambda other: other.idle_since)[: 1 + len(idle) // _EVICTED_SHARE]:
            other._end()  # noqa: SLF001 - of the same class

    def _end(self) -> None:
        """Close without an answer: a client would take that for the answer to its next request."""
        self._ending = True
        if self.busy:
            self.cycle.keep_alive = False
        elif self.scheme == "https" and self.loop.time() - self.idle_since >= _LINGER_S:
            self.transport.abort()  # `close` would wait for the client's close_notify, which may never come
        else:
            self.transport.close()


async def watch(connections: set[Any], limits: Limits) -> None:
    """Check every connection of a server against its time limits, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(limits.check_interval_s)
        now = loop.time()
        for connection in list(connections):
            connection.enforce_limits(now)
