"""Sends the body of a blob: by the server's zero-copy extensions, else by copying it piece by piece.

`protocol.py` describes the extensions. They are not offered over TLS: the kernel would send clear text.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from heliograph_registry.adapters.http_server.protocol import SPLICE, ZERO_COPY
from heliograph_registry.adapters.http_server.record import RequestRecord
from heliograph_registry.mirror.domain.ranges import Span
from heliograph_registry.mirror.errors import SourceFailed, SourceSlow
from heliograph_registry.mirror.ports import LocalBlob, PeerStream

_COPIED_BYTES = 4 << 20  # in memory at once, for all bodies that are copied
_LEAST_PIECE_BYTES, _MOST_PIECE_BYTES = 16 << 10, 256 << 10  # a TLS record holds 16 KiB


class CopyBudget:
    """Bodies that are copied at the same time share 4 MiB; a piece has 16 to 256 KiB."""

    def __init__(self) -> None:
        self._under_way = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    @property
    def piece_bytes(self) -> int:
        return max(_LEAST_PIECE_BYTES, min(_MOST_PIECE_BYTES, _COPIED_BYTES // max(1, self._under_way)))


class ResponseOutlet:
    """The `Outlet` port over an ASGI `send`. It counts the bytes sent in the request's record."""

    def __init__(self, scope: Any, send: Any, count: int, record: RequestRecord, copies: CopyBudget) -> None:
        """`count` is the Content-Length."""
        self._send, self._left_bytes, self._record, self._copies = send, count, record, copies
        self._extensions = scope.get("extensions", {})
        self._ended = False
        self._relayed: PeerStream | None = None

    @property
    def sent_bytes(self) -> int:
        return self._record.sent_bytes

    async def write(self, piece: bytes) -> None:
        self._left_bytes -= len(piece)
        self._ended = self._left_bytes == 0
        await self._send({"type": "http.response.body", "body": piece, "more_body": not self._ended})
        self._record.sent_bytes += len(piece)

    async def end(self) -> None:
        """End the response, unless the last `write` did."""
        if not self._ended:
            await self._send({"type": "http.response.body", "body": b""})

    async def send_file(self, blob: LocalBlob, span: Span) -> None:
        if ZERO_COPY in self._extensions:
            await self._move({"type": ZERO_COPY, "file": blob, "offset": span.first, "count": span.count})
            return
        with self._copies.one_more():
            await self._copy(blob, span)

    async def relay(self, stream: PeerStream) -> None:
        if stream is not self._relayed:  # else it goes on after `PeerSlow`
            self._relayed = stream
            self._record.peers += 1
        before = self.sent_bytes
        try:
            await (self._splice(stream) if SPLICE in self._extensions else self._copy_from(stream))
        finally:
            self._record.relayed(stream.node, self.sent_bytes - before)

    async def _copy_from(self, stream: PeerStream) -> None:
        with self._copies.one_more():
            while piece := await stream.read(self._copies.piece_bytes):
                await self.write(piece)

    async def _splice(self, stream: PeerStream) -> None:
        if first := stream.take_first():
            await self.write(first)
        if count := stream.left_bytes:
            before = self.sent_bytes
            splice = {"type": SPLICE, "socket": stream.socket, "count": count, "stall": stream.stall}
            try:
                await self._move(splice)
            except SourceSlow as error:
                raise stream.slow() from error
            except SourceFailed as error:
                raise stream.failed(error.reason) from error
            finally:
                stream.skip(self.sent_bytes - before)

    async def _copy(self, blob: LocalBlob, span: Span) -> None:
        position = span.first
        while position <= span.last:
            want = min(self._copies.piece_bytes, span.last + 1 - position)
            try:
                piece = await blob.read(position, want)
            except OSError as error:
                raise SourceFailed(str(error)) from error
            if not piece:
                raise SourceFailed("the file became shorter")
            await self.write(piece)
            position += len(piece)

    async def _move(self, message: dict[str, Any]) -> None:
        message["moved"] = 0
        try:
            await self._send(message)
        finally:
            self._left_bytes -= message["moved"]
            self._record.sent_bytes += message["moved"]
