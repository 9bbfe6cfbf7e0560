"""The bodies of blob answers: a span of a local file, or bytes relayed from one peer after another."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog
from opentelemetry import trace

from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.ranges import Span
from heliograph_registry.mirror.domain.throughput import Throughput
from heliograph_registry.mirror.errors import (
    NotServed,
    PeerFailed,
    PeerSlow,
    RangeNotSatisfiable,
    SourceFailed,
    StreamBroken,
)
from heliograph_registry.mirror.ports import LocalBlob, Outlet, PeerStream

log = structlog.get_logger()

_WRITTEN_BYTES = 64 << 10  # up to here a write together with the head is as fast as sendfile
_SHORTER = "the file became shorter"
_MAX_RESUMES = 16  # then the answer ends with a FIN, for peers might fail again and again


class Resume(Protocol):
    async def __call__(
        self, offset: int, failed: tuple[Peer, ...], instead_of: Peer | None = None
    ) -> tuple[Peer, PeerStream]:
        """Open the blob from `offset` on at another peer.

        `failed` are the peers that failed, each as often as it failed. `instead_of` is not asked. Raises
        `NotServed`, `RangeNotSatisfiable` or `TimeoutError`.
        """
        ...


class Body(Protocol):
    async def deliver(self, outlet: Outlet) -> None:
        """Send all bytes of the span, in order. Raises `StreamBroken` if no source has them all."""
        ...

    def close(self) -> None: ...


class LocalBody:
    """A span of a local blob. `open` reads from it, to find errors before the response starts."""

    def __init__(
        self, blob: LocalBlob, span: Span, whole: bytes | None, unreadable: Callable[[str, int], None]
    ) -> None:
        self._blob, self._span, self._whole, self._unreadable = blob, span, whole, unreadable

    @classmethod
    async def open(cls, blob: LocalBlob, span: Span, unreadable: Callable[[str, int], None]) -> "LocalBody":
        """Takes over `blob`. Raises `OSError` if it cannot be read; then the caller still has to close it.

        `unreadable` is called with reason and errno if a read fails after the response has started.
        """
        if span.count <= _WRITTEN_BYTES:
            whole = await blob.read(span.first, span.count)
            if len(whole) < span.count:
                raise OSError(_SHORTER)
            return cls(blob, span, whole, unreadable)
        if not await blob.read(span.first, 1):
            raise OSError(_SHORTER)
        return cls(blob, span, None, unreadable)

    async def deliver(self, outlet: Outlet) -> None:
        if self._whole is not None:
            return await outlet.write(self._whole)
        before = outlet.sent_bytes
        try:
            await outlet.send_file(self._blob, self._span)
        except SourceFailed as error:
            self._unreadable(error.reason, error.code)
            sent = outlet.sent_bytes - before
            raise StreamBroken(sent, self._span.count - sent, error.reason) from error

    def close(self) -> None:
        self._blob.close()


class BrokenBody:
    """A body that ends before its first byte, so that the client asks again for the span."""

    def __init__(self, span: Span) -> None:
        self._span = span

    async def deliver(self, _outlet: Outlet) -> None:
        raise StreamBroken(0, self._span.count, "no peer is left")

    def close(self) -> None:
        pass


class Relay:
    """A span from a peer. The rest comes from another one if the peer fails, or is slower than the others."""

    def __init__(
        self,
        peer: Peer,
        stream: PeerStream,
        resume: Resume,
        *,
        throughput: Throughput,
        failed: Callable[[PeerFailed], None],
        ended: Callable[[dict[str, int]], None],
    ) -> None:
        """`failed` is called for each peer that fails; `ended` at the end, with the bytes from each node."""
        self._peer, self._stream, self._resume = peer, stream, resume
        self._throughput, self._on_failed, self._on_ended = throughput, failed, ended
        self._span = stream.span
        self._failed: tuple[Peer, ...] = ()
        self._bytes_by_node: dict[str, int] = {}

    async def deliver(self, outlet: Outlet) -> None:
        before = outlet.sent_bytes
        while True:
            try:
                return await self._relay(outlet)
            except PeerSlow as error:
                slow = error
            except PeerFailed as error:
                await self._resume_after(error, outlet.sent_bytes - before)
                continue
            await self._replace_if_possible(slow, outlet.sent_bytes - before)

    async def _relay(self, outlet: Outlet) -> None:
        clock = asyncio.get_running_loop().time
        node, before, began = self._peer.node, outlet.sent_bytes, clock()
        self._bytes_by_node.setdefault(node, 0)
        self._throughput.begin(node, began)
        try:
            await outlet.relay(self._stream)
        finally:
            sent, now = outlet.sent_bytes - before, clock()
            self._bytes_by_node[node] += sent
            self._throughput.end(node, sent, now - began, now)

    async def _resume_after(self, reason: PeerFailed, sent: int) -> None:
        self._stream.close()
        self._on_failed(reason)
        log.warning("peer failed, going on at another", **self._account(reason))
        self._failed = (*self._failed, self._peer)
        if len(self._failed) > _MAX_RESUMES:
            raise StreamBroken(sent, self._span.count - sent, reason.reason) from reason
        self._add_event("peer failed", reason)
        try:
            self._go_on_at(await self._resume(self._span.first + sent, self._failed))
        except (NotServed, RangeNotSatisfiable, TimeoutError) as error:
            raise StreamBroken(sent, self._span.count - sent, reason.reason) from error

    async def _replace_if_possible(self, reason: PeerSlow, sent: int) -> None:
        """Go on at another peer that has sent its first bytes; if there is none, at the same one."""
        if len(self._failed) >= _MAX_RESUMES:
            return
        offset, slow = self._span.first + sent, self._stream
        try:
            found = await self._resume(offset, self._failed, instead_of=self._peer)
        except (NotServed, RangeNotSatisfiable, TimeoutError):
            log.info("peer is slow, but no other one delivers", **self._account(reason))
            return
        slow.close()
        self._on_failed(reason)
        log.warning("peer is slow, going on at another", **self._account(reason))
        self._failed = (*self._failed, self._peer)
        self._add_event("peer slow", reason)
        self._go_on_at(found)

    def _go_on_at(self, found: tuple[Peer, PeerStream]) -> None:
        self._peer, self._stream = found
        trace.get_current_span().add_event("resumed", {"heliograph.peer": self._peer.node})

    def _account(self, reason: PeerFailed) -> dict[str, str | int]:
        node = self._peer.node
        return {"peer": node, "reason": reason.reason, "sent_bytes": self._bytes_by_node[node]}

    def _add_event(self, name: str, reason: PeerFailed) -> None:
        node = self._peer.node
        attributes: dict[str, str | int] = {
            "heliograph.peer": node,
            "heliograph.reason": reason.reason,
            "http.response.body.size": self._bytes_by_node[node],
        }
        trace.get_current_span().add_event(name, attributes)

    def close(self) -> None:
        self._stream.close()
        if self._bytes_by_node:
            self._on_ended(self._bytes_by_node)
