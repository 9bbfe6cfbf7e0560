"""The bodies of blob answers: a span of a local file, or of peers that stand in for each other."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from opentelemetry import trace

from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.ranges import Span
from heliograph_registry.mirror.errors import (
    NotServed,
    PeerFailed,
    RangeNotSatisfiable,
    SourceFailed,
    StreamBroken,
)
from heliograph_registry.mirror.ports import LocalBlob, Outlet, PeerStream

log = structlog.get_logger()

_WRITTEN_BYTES = 64 << 10  # as fast by a write, with the head, as by sendfile
_MAX_RESUMES = 16  # then a FIN: peers that only ever begin are not asked without end

Resume = Callable[[int, tuple[Peer, ...]], Awaitable[tuple[Peer, PeerStream]]]
"""From an offset in the blob; told who failed, once for each time. Raises `NotServed` or `TimeoutError`."""


class Body(Protocol):
    async def deliver(self, outlet: Outlet) -> None:
        """All bytes of the span, in order. Raises `StreamBroken` when they cannot be had."""
        ...

    def close(self) -> None: ...


class LocalBody:
    """A span of a local blob, proven to be readable before anything is promised to the client."""

    def __init__(self, blob: LocalBlob, span: Span, whole: bytes | None) -> None:
        self._blob, self._span, self._whole = blob, span, whole

    @classmethod
    async def open(cls, blob: LocalBlob, span: Span) -> "LocalBody":
        """Raises `OSError` when the file cannot be read; then `blob` is still the caller's."""
        if span.count <= _WRITTEN_BYTES:
            return cls(blob, span, await blob.read(span.first, span.count))
        if not await blob.read(span.first, 1):
            raise OSError("the file is shorter than it was")
        return cls(blob, span, None)

    async def deliver(self, outlet: Outlet) -> None:
        if self._whole is not None:
            await outlet.write(self._whole)
            if (missing := self._span.count - len(self._whole)) > 0:
                raise StreamBroken(len(self._whole), missing, "the file is shorter than it was")
            return
        before = outlet.sent_bytes
        try:
            await outlet.send_file(self._blob, self._span)
        except SourceFailed as error:
            sent = outlet.sent_bytes - before
            raise StreamBroken(sent, self._span.count - sent, error.reason) from error

    def close(self) -> None:
        self._blob.close()


class BrokenBody:
    """A span that was promised and can no longer be had: the client shall ask again for it elsewhere."""

    def __init__(self, span: Span) -> None:
        self._span = span

    async def deliver(self, _outlet: Outlet) -> None:
        raise StreamBroken(0, self._span.count, "no peer is left")

    def close(self) -> None:
        pass


class Relay:
    """A span from a peer; where that peer ends early, the rest comes from another."""

    def __init__(
        self,
        peer: Peer,
        stream: PeerStream,
        resume: Resume,
        *,
        failed: Callable[[PeerFailed], None],
        ended: Callable[[dict[str, int]], None],
    ) -> None:
        """`failed` is told of each peer that fails underway, `ended` whom bytes came from, and how many."""
        self._peer, self._stream, self._resume = peer, stream, resume
        self._tell_failed, self._tell_ended = failed, ended
        self._span = stream.span
        self._failed: tuple[Peer, ...] = ()
        self._sources: dict[str, int] = {}

    async def deliver(self, outlet: Outlet) -> None:
        before = outlet.sent_bytes
        while True:
            node, start = self._peer.node, outlet.sent_bytes
            self._sources.setdefault(node, 0)
            try:
                return await outlet.relay(self._stream)
            except PeerFailed as error:
                failure = error
            finally:
                self._sources[node] += outlet.sent_bytes - start
            await self._go_on(outlet.sent_bytes - before, failure)

    async def _go_on(self, sent: int, reason: PeerFailed) -> None:
        self._stream.close()
        self._tell_failed(reason)
        self._failed = (*self._failed, self._peer)
        log.warning(
            "peer failed, going on at another", peer=self._peer.node, reason=reason.reason, sent_bytes=sent
        )
        if len(self._failed) > _MAX_RESUMES:
            raise StreamBroken(sent, self._span.count - sent, reason.reason) from reason
        told = {"heliograph.peer": self._peer.node, "heliograph.reason": reason.reason}
        request = trace.get_current_span()
        request.add_event("peer failed", told | {"http.response.body.size": sent})
        try:
            self._peer, self._stream = await self._resume(self._span.first + sent, self._failed)
        except (NotServed, RangeNotSatisfiable, TimeoutError) as error:
            raise StreamBroken(sent, self._span.count - sent, reason.reason) from error
        request.add_event("resumed", {"heliograph.peer": self._peer.node})

    def close(self) -> None:
        self._stream.close()
        if self._sources:
            self._tell_ended(self._sources)
