"""The body of a peer's answer, as the port `PeerStream` has it."""

import asyncio
import math
import socket
import time

from opentelemetry import trace

from heliograph_registry.adapters.peer_client.connections import PlainConnection
from heliograph_registry.adapters.peer_client.exchange import MAX_HEAD_BYTES, PeerExchange
from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.ranges import Span
from heliograph_registry.mirror.domain.stall import Side, StallDetector
from heliograph_registry.mirror.errors import PeerFailed
from heliograph_shared import telemetry

_PIECE_BYTES = 1 << 20
_STALLED = "sent next to nothing for too long"


class HttpStream:
    """A body whose first bytes have arrived. See `PeerStream`."""

    def __init__(
        self, peer: Peer, exchange: PeerExchange, span: Span, stall_s: float, trace_span: trace.Span
    ) -> None:
        """`trace_span` ends with the body."""
        self._peer, self._exchange, self._trace_span = peer, exchange, trace_span
        self.span, self.stall_s = span, stall_s
        self._first = b""
        self.left_bytes = span.count
        self._received, self._waited_s = 0, 0.0
        self._stall = StallDetector(0.0, source_s=stall_s, client_s=math.inf)

    async def begin(self) -> None:
        """Wait for the first bytes. Raises `PeerFailed`."""
        if self.left_bytes:
            self._first = self._exchange.take_rest(self.left_bytes) or await self._receive(MAX_HEAD_BYTES)

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
        self._stall.waits_for(Side.SOURCE)
        self._waited_s += time.monotonic() - began  # time the client takes does not count against the peer
        if self._stall.stalled(self._received, self._waited_s, Side.SOURCE):
            raise self.failed(_STALLED)
        return piece

    def close(self) -> None:
        self._exchange.end(unread=self.left_bytes)
        if self._trace_span.is_recording():  # false if it has ended
            self._trace_span.set_attribute("http.response.body.size", self.span.count - self.left_bytes)
            self._trace_span.end()
