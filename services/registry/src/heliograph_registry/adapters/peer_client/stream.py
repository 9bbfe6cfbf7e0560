"""The body of a peer's answer, as the port `PeerStream` has it."""

import asyncio
import socket
import time
from collections.abc import Callable

from opentelemetry import trace

from heliograph_registry.adapters.peer_client.connections import PlainConnection
from heliograph_registry.adapters.peer_client.exchange import MAX_HEAD_BYTES, PeerExchange
from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.ranges import Span
from heliograph_registry.mirror.domain.stall import CHECK_EVERY_S, Side, Stall, StallDetector
from heliograph_registry.mirror.errors import SLOW, STALLED, PeerFailed, PeerSlow
from heliograph_shared import telemetry

_PIECE_BYTES = 1 << 20


class HttpStream:
    """A body whose first bytes have arrived. See `PeerStream`."""

    def __init__(
        self,
        peer: Peer,
        exchange: PeerExchange,
        span: Span,
        trace_span: trace.Span,
        *,
        stall_s: float,
        slow_below: Callable[[], float],
    ) -> None:
        """`trace_span` ends with the body. `StallDetector` describes `stall_s` and `slow_below`."""
        self._peer, self._exchange, self._trace_span = peer, exchange, trace_span
        self._stall_s = stall_s
        self.node, self.span = peer.node, span
        self._first = b""
        self.left_bytes = span.count
        self._received, self._waited_s = 0, 0.0
        self._receiving: asyncio.Future[bytes] | None = None
        self.stall = StallDetector(0.0, source_s=stall_s, slow_below=slow_below)

    async def begin(self) -> None:
        """Wait for the first bytes. Raises `PeerFailed`."""
        if not self.left_bytes:
            return
        self._first = self._exchange.take_rest(self.left_bytes)
        if not self._first:
            wanted = min(self.left_bytes, MAX_HEAD_BYTES)
            try:
                async with asyncio.timeout(self._stall_s):
                    self._first = self._checked(await self._exchange.connection.receive(wanted))
            except OSError as error:
                raise self.failed(STALLED if isinstance(error, TimeoutError) else str(error)) from error

    @property
    def socket(self) -> socket.socket:
        connection = self._exchange.connection
        assert isinstance(connection, PlainConnection)  # splice is not offered over TLS
        return connection.socket

    def take_first(self) -> bytes:
        piece, self._first = self._first, b""
        self.left_bytes -= len(piece)
        return piece

    def skip(self, count: int) -> None:
        self.left_bytes -= count

    def failed(self, reason: str) -> PeerFailed:
        error = PeerFailed(self._peer.node, reason)
        telemetry.failed(self._trace_span, error)
        return error

    def slow(self) -> PeerSlow:
        self._trace_span.add_event(SLOW)
        return PeerSlow(self._peer.node)

    async def read(self, most: int = _PIECE_BYTES) -> bytes:
        if not self.left_bytes:
            return b""
        if self._first:
            return self.take_first()
        piece = await self._receive(most)
        self.left_bytes -= len(piece)
        return piece

    async def _receive(self, most: int) -> bytes:
        """The time that the client takes between two calls does not count against the peer."""
        self._check_stall()
        receiving = self._receiving
        if receiving is None:
            wanted = min(self.left_bytes, most)
            receiving = asyncio.ensure_future(self._exchange.connection.receive(wanted))
            self._receiving = receiving  # after `PeerSlow` another call waits for the same bytes
        while not receiving.done():
            began = time.monotonic()
            await asyncio.wait([receiving], timeout=CHECK_EVERY_S)
            self._waited_s += time.monotonic() - began
            if not receiving.done():
                self._check_stall()
        self._receiving = None
        try:
            piece = self._checked(receiving.result())
        except OSError as error:
            raise self.failed(str(error)) from error
        self._received += len(piece)
        return piece

    def _checked(self, piece: bytes) -> bytes:
        if not piece:
            raise self.failed(f"ended with {self.left_bytes} bytes missing")
        return piece

    def _check_stall(self) -> None:
        self.stall.waits_for(Side.SOURCE)
        match self.stall.check(self._received, self._waited_s, Side.SOURCE):
            case Stall.SOURCE_SLOW:
                raise self.slow()
            case Stall.SOURCE_STALLED:
                raise self.failed(STALLED)

    def close(self) -> None:
        if self._receiving is None:
            self._exchange.end(unread=self.left_bytes)
        else:  # the loop watches the socket until the call has ended
            unread = self.left_bytes
            self._receiving.add_done_callback(lambda _: self._exchange.end(unread=unread))
            self._receiving.cancel()
            self._receiving = None
        if self._trace_span.is_recording():  # false if it has ended
            self._trace_span.set_attribute("http.response.body.size", self.span.count - self.left_bytes)
            self._trace_span.end()
