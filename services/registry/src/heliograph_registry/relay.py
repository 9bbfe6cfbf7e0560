"""The bodies of blob answers: pieces of a local file, or of peers that stand in for each other."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import structlog

from heliograph_registry.domain.peer import Peer
from heliograph_registry.domain.ranges import Span
from heliograph_registry.errors import NotServed, PeerFailed, RangeNotSatisfiable, StreamBroken
from heliograph_registry.ports import LocalBlob, PeerStream

log = structlog.get_logger()

_PIECE_BYTES = 1 << 20
_MAX_RESUMES = 16  # then a FIN: peers that only ever begin are not asked without end

Resume = Callable[[int, tuple[Peer, ...]], Awaitable[tuple[Peer, PeerStream]]]
"""From an offset in the blob, avoiding the peers that failed. Raises `NotServed` or `TimeoutError`."""


class Body(Protocol):
    def pieces(self) -> AsyncIterator[bytes]:
        """All bytes of the span in order. Raises `StreamBroken` when they cannot be had."""
        ...

    def close(self) -> None: ...


class LocalBody:
    """A span of a local blob, its first piece read before anything is promised to the client."""

    def __init__(self, blob: LocalBlob, span: Span, first: bytes) -> None:
        self._blob, self._span, self._first = blob, span, first

    @classmethod
    async def open(cls, blob: LocalBlob, span: Span) -> "LocalBody":
        """Raises `OSError` when the file cannot be read; then `blob` is still the caller's."""
        return cls(blob, span, await blob.read(span.first, min(_PIECE_BYTES, span.count)))

    async def pieces(self) -> AsyncIterator[bytes]:
        sent = 0
        piece = self._first
        while piece:
            yield piece
            sent += len(piece)
            if sent == self._span.count:
                return
            try:
                piece = await self._blob.read(
                    self._span.first + sent, min(_PIECE_BYTES, self._span.count - sent)
                )
            except OSError as error:
                raise StreamBroken(sent, self._span.count - sent) from error
        if sent < self._span.count:
            raise StreamBroken(sent, self._span.count - sent)

    def close(self) -> None:
        self._blob.close()


class Relay:
    """A span from a peer; where that peer ends early, the rest comes from another."""

    def __init__(self, peer: Peer, stream: PeerStream, resume: Resume) -> None:
        self._peer, self._stream, self._resume = peer, stream, resume
        self._span = stream.span
        self._failed: tuple[Peer, ...] = ()
        self._resumes = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        sent = 0
        while True:
            try:
                piece = await self._stream.read()
            except PeerFailed as error:
                await self._go_on(sent, error)
                continue
            if not piece:
                return
            yield piece
            sent += len(piece)

    async def _go_on(self, sent: int, reason: PeerFailed) -> None:
        self._stream.close()
        self._failed = (*(peer for peer in self._failed if peer != self._peer), self._peer)
        log.warning(
            "peer failed, going on at another", peer=self._peer.node, reason=reason.reason, sent_bytes=sent
        )
        self._resumes += 1
        if self._resumes > _MAX_RESUMES:
            raise StreamBroken(sent, self._span.count - sent) from reason
        try:
            self._peer, self._stream = await self._resume(self._span.first + sent, self._failed)
        except (NotServed, RangeNotSatisfiable, TimeoutError) as error:
            raise StreamBroken(sent, self._span.count - sent) from error

    def close(self) -> None:
        self._stream.close()
