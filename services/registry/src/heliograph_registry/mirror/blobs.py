"""Answers requests for blobs: from this node's store, else relayed from a peer.

A relayed blob is not hashed on its way. If a client was sent all of it and asks again, it is hashed first.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakValueDictionary

import structlog
from opentelemetry import trace

from heliograph_registry.mirror.deadline import LONGEST_S, PATIENT_S, Deadline
from heliograph_registry.mirror.domain.peer import Resolution
from heliograph_registry.mirror.domain.ranges import ByteRange, Span
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.relay_history import RelayHistory, StartedBlobs
from heliograph_registry.mirror.domain.source import LOCAL, NOBODY, FromPeer, Source
from heliograph_registry.mirror.domain.target import Blob, Name
from heliograph_registry.mirror.errors import Busy, NotServed, RangeNotSatisfiable
from heliograph_registry.mirror.local_content import LocalContent
from heliograph_registry.mirror.lookahead import Lookahead
from heliograph_registry.mirror.ordered_ranges import OrderedRange, OrderedRanges
from heliograph_registry.mirror.peering import Peering, is_possible_size
from heliograph_registry.mirror.ports import LocalBlob, Spool
from heliograph_registry.mirror.relay import Body, BrokenBody, LocalBody, Relay
from heliograph_registry.mirror.waiting import WaitingRequests
from heliograph_shared.digest import Digest

log = structlog.get_logger()

_VERIFY_TIMEOUT_S = 20.0  # a wait before it included; see `LONGEST_S`
_MOST_VERIFIED_AT_ONCE = 2
_CHECK_EVERY_S = 1.0
_MAY_PASS, _AGAIN_S = frozenset({Reason.PEERS_FAILED, Reason.RESOLVER_UNAVAILABLE}), 0.5


class TransferSlots:
    """Limits how many blobs are sent at once."""

    def __init__(self, most: int) -> None:
        self._most, self.taken = most, 0
        self._released = asyncio.Event()

    @property
    def full(self) -> bool:
        return self.taken >= self._most

    def take(self) -> None:
        """Raises `Busy` when none is free."""
        if self.full:
            raise Busy(self._most)
        self.taken += 1

    async def take_within(self, seconds: float) -> None:
        """Wait for a free one. Raises `Busy` after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while self.full:
                    self._released.clear()
                    await self._released.wait()
        except TimeoutError:
            pass  # `take` reports it
        self.take()

    def release(self) -> None:
        self.taken -= 1
        self._released.set()


@dataclass(frozen=True, slots=True)
class BlobAnswer:
    """`partial` if the request had a range; `body` is None for a HEAD. The caller closes it."""

    span: Span
    partial: bool
    source: Source
    body: Body | None = None
    closed: Callable[[], None] = lambda: None

    def close(self) -> None:
        if self.body is not None:
            self.body.close()
        self.closed()


class Blobs:
    def __init__(
        self,
        content: LocalContent,
        peering: Peering,
        lookahead: Lookahead,
        spool: Spool,
        waiting: WaitingRequests,
        *,
        first_byte_s: float,
        transfers: int,
    ) -> None:
        """`transfers`: how many blobs are sent at once to peers, and as many again to other clients."""
        self._content, self._peering, self._lookahead, self._spool = content, peering, lookahead, spool
        self._waiting = waiting
        self._first_byte_s = first_byte_s
        self._for_peers, self._for_clients = TransferSlots(transfers), TransferSlots(transfers)
        self._history, self._started = RelayHistory(time.monotonic), StartedBlobs(time.monotonic)
        self._ranges = OrderedRanges()
        self._verifying = asyncio.Semaphore(_MOST_VERIFIED_AT_ONCE)
        self._hashing: WeakValueDictionary[Digest, asyncio.Lock] = WeakValueDictionary()

    @property
    def full(self) -> bool:
        """Whether another request of a client would find no free slot."""
        return self._for_clients.full

    def limit_s(self, name: Name) -> float:
        """The time limit for the first byte, except of an image's first request."""
        return max(self._first_byte_s, PATIENT_S) if name.in_path else self._first_byte_s

    def to_clients(self) -> int:
        """How many blobs are being sent to clients that are not peers."""
        return self._for_clients.taken

    def to_peers(self) -> int:
        """How many blobs are being sent to peers."""
        return self._for_peers.taken

    async def forget_arrived(self) -> None:
        """Forget relayed blobs that containerd has since stored, because it verifies what it stores.

        Runs until it is cancelled.
        """
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            for digest in self._history:
                if not self._content.lacks(digest):
                    self._history.forget(digest)

    def mark_verified(self, digest: Digest) -> None:
        """A client in this process hashed what it got, so another request is no sign of wrong bytes."""
        self._history.forget(digest)

    async def head(self, target: Blob, *, from_peer: bool) -> BlobAnswer:
        """Raises `NotServed`."""
        async with Deadline(self._first_byte_s):
            blob = await self._open(target.digest)
            if blob is not None:
                blob.close()
                return BlobAnswer(_span(None, blob.size_bytes), partial=False, source=LOCAL)
            if from_peer:
                self._content.refused_to_peer(target.digest)
                raise NotServed(Reason.NOT_LOCAL)
            (resolution,) = await self._peering.resolve([target.digest])
            size_bytes, node = await self._peering.size_of(target, resolution)
        return BlobAnswer(_span(None, size_bytes), partial=False, source=FromPeer(node))

    async def get(
        self, target: Blob, wanted: ByteRange | None, *, from_peer: bool, client: str = ""
    ) -> BlobAnswer:
        """`client` tells clients apart, such as by their addresses.

        Raises `NotServed`, `RangeNotSatisfiable` or `Busy`.
        """
        slots = self._for_peers if from_peer else self._for_clients
        patient = target.name.in_path and not from_peer
        try:
            if patient:
                await slots.take_within(max(0.0, LONGEST_S - 2 * self.limit_s(target.name)))
            else:
                slots.take()
        except Busy:
            if from_peer or (broken := self._broken_answer(target, wanted)) is None:
                raise
            return broken
        try:
            if from_peer:
                answer = await self._from_store(target, wanted)
            else:
                answer = await self._from_anywhere(target, wanted, client)
        except BaseException:
            slots.release()
            raise
        return BlobAnswer(answer.span, answer.partial, answer.source, answer.body, slots.release)

    async def _from_store(self, target: Blob, wanted: ByteRange | None) -> BlobAnswer:
        async with Deadline(self._first_byte_s):
            local = await self._local(target.digest, wanted)
        if local is None:
            self._content.refused_to_peer(target.digest)
            raise NotServed(Reason.NOT_LOCAL)
        return local

    async def _from_anywhere(self, target: Blob, wanted: ByteRange | None, client: str) -> BlobAnswer:
        try:
            answer = await self._find_patiently(target, wanted, client)
        except NotServed:
            if (broken := self._broken_answer(target, wanted)) is None:
                raise
            return broken
        if answer.body is None or not answer.partial:
            return answer
        self._started.started(target.digest, answer.span.size_bytes)
        return replace(answer, body=OrderedRange(answer.body, self._ranges, target.digest, answer.span.first))

    def _broken_answer(self, target: Blob, wanted: ByteRange | None) -> BlobAnswer | None:
        """A response that ends before its first byte, for a range that must not be refused; else None.

        See `StartedBlobs`.
        """
        size_bytes = self._started.must_not_refuse(target.digest, wanted) if wanted else None
        if size_bytes is None:
            return None
        span = _span(wanted, size_bytes)
        body = OrderedRange(BrokenBody(span), self._ranges, target.digest, span.first)
        return BlobAnswer(span, partial=True, source=NOBODY, body=body)

    async def _find_patiently(self, target: Blob, wanted: ByteRange | None, client: str) -> BlobAnswer:
        """Try again for a while what may pass, such as busy peers, if the client asks no other host."""
        clock = asyncio.get_running_loop().time
        ends = clock() + self.limit_s(target.name)
        while True:
            try:
                return await self._find(target, wanted, client)
            except NotServed as error:
                if not target.name.in_path or error.reason not in _MAY_PASS or clock() >= ends:
                    raise
            await asyncio.sleep(_AGAIN_S)

    async def _find(self, target: Blob, wanted: ByteRange | None, client: str) -> BlobAnswer:
        verified_by = asyncio.get_running_loop().time() + _VERIFY_TIMEOUT_S
        async with Deadline(self.limit_s(target.name)) as deadline:
            local = await self._local(target.digest, wanted)
            if local is not None:
                return local
            resolution = await self._lookahead.take_resolution(target.digest)
            if resolution is None and target.name.in_path:  # its image is complete: nobody has to fetch it
                (resolution,) = await self._peering.resolve([target.digest])
            if resolution is None:
                resolution = await self._waiting.resolution(target.digest, wanted, deadline)
            if not self._history.is_repeat(target.digest, client, wanted):
                return await self._relay(target, wanted, resolution, client)
        return await self._verified(target, wanted, resolution, client, verified_by)

    async def _relay(
        self, target: Blob, wanted: ByteRange | None, resolution: Resolution, client: str
    ) -> BlobAnswer:
        if right := self._history.right_nodes(target.digest):
            right_first = sorted(resolution.peers, key=lambda peer: peer.node not in right)
            resolution = replace(resolution, peers=tuple(right_first))
        peer, stream = await self._peering.open(target, wanted, resolution)
        relay = Relay(
            peer,
            stream,
            partial(self._peering.resume, target, stream.span, resolution),
            throughput=self._peering.throughput,
            failed=self._peering.failed,
            ended=partial(self._relay_ended, target.digest, client, wanted, stream.span.size_bytes),
        )
        return BlobAnswer(stream.span, wanted is not None, FromPeer(peer.node), relay)

    def _relay_ended(
        self,
        digest: Digest,
        client: str,
        wanted: ByteRange | None,
        size_bytes: int,
        bytes_by_node: dict[str, int],
    ) -> None:
        self._history.add(digest, client, wanted, size_bytes, bytes_by_node)
        for node, size_bytes in bytes_by_node.items():
            self._peering.fetched(node, size_bytes)

    async def _verified(
        self, target: Blob, wanted: ByteRange | None, resolution: Resolution, client: str, ends: float
    ) -> BlobAnswer:
        """Hash the whole blob before sending any of it, unless another request does that at the same time.

        This may take longer than the time limit for the first byte: otherwise the pull would fail again.
        Raises `NotServed` when it is not verified at `ends`, a time of the event loop's clock.
        """
        one_at_a_time = self._hashing.setdefault(target.digest, asyncio.Lock())
        try:
            async with asyncio.timeout_at(ends), one_at_a_time:
                if self._history.is_repeat(target.digest, client, wanted):
                    async with self._verifying:
                        return await self._hashed(target, wanted, resolution)
                async with Deadline(self._first_byte_s):
                    return await self._relay(target, wanted, resolution, client)
        except TimeoutError as error:
            raise NotServed(Reason.NOT_VERIFIED) from error

    async def _hashed(self, target: Blob, wanted: ByteRange | None, resolution: Resolution) -> BlobAnswer:
        suspects = self._history.nodes(target.digest)
        trace.get_current_span().set_attribute("heliograph.hashed_first", True)
        log.info("blob requested again, hashing it first", digest=target.digest, came_from=sorted(suspects))
        blob, node = await self._peering.verified(target, resolution, suspects, self._spool)
        self._history.was_right(target.digest, node)
        answer = await _answer(blob, wanted, FromPeer(node), partial(_not_readable, target.digest))
        if answer is None:
            raise NotServed(Reason.NOT_VERIFIED)
        return answer

    async def _local(self, digest: Digest, wanted: ByteRange | None) -> BlobAnswer | None:
        blob = await self._open(digest)
        if blob is None:
            return None
        unreadable = partial(self._content.unreadable, digest)
        return await _answer(blob, wanted, LOCAL, unreadable)

    async def _open(self, digest: Digest) -> LocalBlob | None:
        blob = await self._content.open(digest)
        if blob is not None and not is_possible_size(digest, blob.size_bytes):
            log.warning("local blob is empty", digest=digest)
            blob.close()
            return None
        return blob


@asynccontextmanager
async def open_blobs(
    content: LocalContent,
    peering: Peering,
    lookahead: Lookahead,
    spool: Spool,
    waiting: WaitingRequests,
    *,
    first_byte_s: float,
    transfers: int,
) -> AsyncIterator[Blobs]:
    """`Blobs`, with a task that watches the content store for what has arrived."""
    blobs = Blobs(content, peering, lookahead, spool, waiting, first_byte_s=first_byte_s, transfers=transfers)
    watching = asyncio.create_task(blobs.forget_arrived())
    try:
        yield blobs
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def _answer(
    blob: LocalBlob, wanted: ByteRange | None, source: Source, unreadable: Callable[[str, int], None]
) -> BlobAnswer | None:
    """The answer owns `blob`. None if it cannot be read; then, and on any error, `blob` is closed.

    `unreadable` is called with reason and errno when a read fails, now or later.
    """
    try:
        span = _span(wanted, blob.size_bytes)
        return BlobAnswer(span, wanted is not None, source, await LocalBody.open(blob, span, unreadable))
    except OSError as error:
        unreadable(str(error), error.errno or 0)
        blob.close()
        return None
    except BaseException:
        blob.close()
        raise


def _not_readable(digest: Digest, reason: str, _code: int) -> None:
    log.warning("hashed blob is unreadable", digest=digest, reason=reason)


def _span(wanted: ByteRange | None, size_bytes: int) -> Span:
    if wanted is None:
        return Span(0, size_bytes - 1, size_bytes)
    span = wanted.of(size_bytes)
    if span is None:
        raise RangeNotSatisfiable(size_bytes)
    return span
