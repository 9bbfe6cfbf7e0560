"""Registries of other nodes in memory: the port `Peers` as the contract suite proves it to behave."""

import asyncio
import io
import math
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.domain.ranges import ByteRange, Span
from heliograph_registry.mirror.domain.stall import CHECK_EVERY_S, Side, Stall, StallDetector
from heliograph_registry.mirror.domain.target import Blob, ManifestByDigest, ManifestByTag
from heliograph_registry.mirror.errors import (
    STALLED,
    ManifestTooLarge,
    PeerFailed,
    PeerSlow,
    RangeNotSatisfiable,
)
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.image import MAX_MANIFEST_BYTES

_PIECE_BYTES = 64 << 10

Target = Blob | ManifestByDigest | ManifestByTag


@dataclass
class MemoryPeer:
    """One node's registry: what it holds, and how it fails. Each may be changed at any time."""

    node: str
    address: str
    content: dict[Digest, bytes] = field(default_factory=dict, repr=False)
    tags: dict[str, Digest] = field(default_factory=dict)
    answers_after_s: float = 0.0
    down: bool = False
    """Nobody listens."""
    busy: bool = False
    """Answers 503."""
    hangs: bool = False
    """Never answers."""
    stalls: bool = False
    """Sends no byte of a body beyond its first piece, and does not close the connection."""
    pauses_s: float = 0.0
    """How long it pauses after the first piece of a body."""
    bytes_s: float = math.inf
    """How fast it sends a body after the first piece."""
    piece_bytes: int = _PIECE_BYTES
    breaks_after: list[int] = field(default_factory=list)
    """Of its next bodies, how many bytes each has when the connection breaks; later ones are whole."""
    asked: list[tuple[Target, ByteRange | None]] = field(default_factory=list)

    @property
    def peer(self) -> Peer:
        return Peer(self.node, (self.address,))

    def put(self, data: bytes, digest: Digest | None = None) -> Digest:
        """Under its own digest, unless another one is given: then it sends wrong bytes."""
        digest = digest or digest_of(data)
        self.content[digest] = data
        return digest


class MemoryPeers:
    """`open_streams` is how many bodies have been fetched and not closed."""

    def __init__(
        self,
        registries: Iterable[MemoryPeer] = (),
        *,
        stall_s: float = 10.0,
        slow_below: Callable[[str], float] = lambda _: 0.0,
    ) -> None:
        self._registries = {registry.address: registry for registry in registries}
        self._stall_s, self.slow_below = stall_s, slow_below
        self.open_streams = 0

    def add(self, registry: MemoryPeer) -> MemoryPeer:
        self._registries[registry.address] = registry
        return registry

    def remove(self, address: str) -> None:
        """The node is gone."""
        del self._registries[address]

    async def fetch(
        self, peer: Peer, target: Blob | ManifestByDigest, wanted: ByteRange | None
    ) -> "MemoryPeerStream":
        registry, data = await self._held(peer, target, target.digest, wanted)
        if isinstance(target, ManifestByDigest) and len(data) > MAX_MANIFEST_BYTES:
            raise ManifestTooLarge(peer.node)
        span = Span(0, len(data) - 1, len(data)) if wanted is None else wanted.of(len(data))
        if span is None:
            raise RangeNotSatisfiable(len(data))
        stall = StallDetector(0.0, source_s=self._stall_s, slow_below=partial(self.slow_below, peer.node))
        stream = MemoryPeerStream(peer, registry, data, span, stall, closed=self._closed)
        await stream.begin()
        self.open_streams += 1
        return stream

    async def size_of(self, peer: Peer, target: Blob) -> int:
        _, data = await self._held(peer, target, target.digest, None)
        return len(data)

    async def digest_of(self, peer: Peer, target: ManifestByTag) -> Digest:
        registry = await self._answering(peer, target, None)
        digest = registry.tags.get(target.tag_reference or "")
        if digest is None or digest not in registry.content:
            raise PeerFailed(peer.node, "answered 404", healthy=True, status=404)
        return digest

    async def _held(
        self, peer: Peer, target: Target, digest: Digest, wanted: ByteRange | None
    ) -> tuple[MemoryPeer, bytes]:
        registry = await self._answering(peer, target, wanted)
        data = registry.content.get(digest)
        if data is None:
            raise PeerFailed(peer.node, "answered 404", healthy=True, status=404)
        return registry, data

    async def _answering(self, peer: Peer, target: Target, wanted: ByteRange | None) -> MemoryPeer:
        """The first of the peer's addresses where somebody listens, once it answers."""
        found = (self._registries.get(address) for address in peer.addresses)
        registry = next((each for each in found if each is not None and not each.down), None)
        if registry is None:
            raise PeerFailed(peer.node, "connection refused")
        registry.asked.append((target, wanted))
        if registry.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(registry.answers_after_s)
        if registry.busy:
            raise PeerFailed(peer.node, "answered 503", healthy=True, status=503)
        return registry

    def _closed(self) -> None:
        self.open_streams -= 1


class MemoryPeerStream:
    """A body that may break. It has no socket: nothing in memory can be spliced."""

    def __init__(
        self,
        peer: Peer,
        registry: MemoryPeer,
        data: bytes,
        span: Span,
        stall: StallDetector,
        *,
        closed: Callable[[], None],
    ) -> None:
        self._peer, self._registry, self._data, self._tell_closed = peer, registry, data, closed
        self.node, self.span, self.stall, self.left_bytes = peer.node, span, stall, span.count
        self._breaks_after = registry.breaks_after.pop(0) if registry.breaks_after else span.count
        self._received = 0
        self._waited_s, self._still_s = 0.0, 0.0
        self._first = b""
        self.closed = False

    async def begin(self) -> None:
        """Have the first bytes in hand. Raises `PeerFailed`."""
        if self.left_bytes:
            self._first = await self._receive(_PIECE_BYTES)

    @property
    def socket(self) -> socket.socket:
        raise io.UnsupportedOperation("a stream in memory has no socket")

    def take_first(self) -> bytes:
        piece, self._first = self._first, b""
        self.left_bytes -= len(piece)
        return piece

    def skip(self, count: int) -> None:
        self._received += count
        self.left_bytes -= count

    def failed(self, reason: str) -> PeerFailed:
        return PeerFailed(self._peer.node, reason)

    def slow(self) -> PeerSlow:
        return PeerSlow(self._peer.node)

    async def read(self, most: int = 1 << 20) -> bytes:
        if not self.left_bytes:
            return b""
        if self._first:
            return self.take_first()
        piece = await self._receive(most)
        self.left_bytes -= len(piece)
        return piece

    async def _receive(self, most: int) -> bytes:
        if self._registry.down:
            raise self.failed("connection reset")
        left = min(self.span.count, self._breaks_after) - self._received
        if left <= 0:
            raise self.failed(f"ended with {self.left_bytes} bytes missing")
        start = self.span.first + self._received
        piece = self._data[start : start + min(most, left, self._registry.piece_bytes)]
        if self._received:
            pause_s = self._registry.pauses_s if self._received <= self._registry.piece_bytes else 0.0
            takes_s = math.inf if self._registry.stalls else len(piece) / self._registry.bytes_s
            await self._wait(pause_s + takes_s)
        self._received += len(piece)
        return piece

    async def _wait(self, seconds: float) -> None:
        """After `PeerSlow`, the next call waits for what was left of the time."""
        self._still_s = self._still_s or seconds
        while True:
            self.stall.waits_for(Side.SOURCE)
            match self.stall.check(self._received, self._waited_s, Side.SOURCE):
                case Stall.SOURCE_SLOW:
                    raise self.slow()
                case Stall.SOURCE_STALLED:
                    raise self.failed(STALLED)
            if not self._still_s:
                return
            step_s = min(self._still_s, CHECK_EVERY_S)
            await asyncio.sleep(step_s)
            self._waited_s += step_s
            self._still_s -= step_s

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._tell_closed()
