"""What the mirror's use cases need from outside."""

import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from heliograph_registry.mirror.domain.peer import Peer, Resolution
from heliograph_registry.mirror.domain.ranges import ByteRange, Span
from heliograph_registry.mirror.domain.stall import StallDetector
from heliograph_registry.mirror.domain.target import Blob, ManifestByDigest, ManifestByTag
from heliograph_registry.mirror.errors import PeerFailed, PeerSlow
from heliograph_shared.digest import Digest


class LocalBlob(Protocol):
    """An open blob of this node. It stays readable if the blob is removed. Its holder closes it."""

    @property
    def size_bytes(self) -> int: ...

    def fileno(self) -> int: ...

    async def read(self, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`; empty only at the blob's end. Raises `OSError`."""
        ...

    def close(self) -> None: ...


class Content(Protocol):
    """This node's blobs, by digest."""

    async def open(self, digest: Digest) -> LocalBlob | None:
        """The blob; None if the node does not hold it or cannot read it."""
        ...

    def lacks(self, digest: Digest) -> bool:
        """Whether the node does not hold this blob."""
        ...


class Spool(Protocol):
    """Stores a blob while it is hashed, before any of it is sent to a client."""

    async def verified(
        self, digest: Digest, size_bytes: int, pieces: AsyncIterator[bytes]
    ) -> LocalBlob | None:
        """The blob; None if its bytes have another digest. Raises `OSError` if there is no room."""
        ...


class NodeFacts(Protocol):
    """What this node's indexer writes about the node."""

    def digest_of(self, tag_reference: str) -> Digest | None: ...

    @property
    def addresses(self) -> frozenset[str]:
        """This registry's own addresses, so that it does not take itself for a peer."""
        ...


class Resolver(Protocol):
    """Finds the nodes that hold a piece of content."""

    async def resolve(
        self,
        keys: Sequence[Digest | str],
        *,
        timeout_s: float,
        failed: Iterable[str] = (),
        wait_s: float = 0,
    ) -> list[Resolution]:
        """One resolution for each key, a digest or a tag reference. `failed` nodes just did not deliver.

        With `wait_s` and a single digest that no node holds, the answer may take that much longer: until
        other nodes hold it, or until this node should fetch it (`GO_UPSTREAM`).

        Raises `ResolverUnavailable` if no router could answer; an answer without peers is no error.
        """
        ...


class PeerAddresses(Protocol):
    """Finds addresses of other nodes' registries without a router."""

    async def addresses(self, count: int) -> Sequence[str]:
        """At most `count` addresses (`host:port`), chosen at random. Takes 50 ms at most."""
        ...


class PeerStream(Protocol):
    """A peer's answer whose first bytes have arrived. Its holder closes it.

    Either call only `read`; or call `take_first` once, read the rest from `socket`, and report it by `skip`.
    """

    @property
    def node(self) -> str:
        """The peer's node."""
        ...

    @property
    def span(self) -> Span:
        """The bytes that the peer announced; of an empty body `last` is less than `first`."""
        ...

    @property
    def left_bytes(self) -> int:
        """How many of the announced bytes have not been read."""
        ...

    @property
    def stall(self) -> StallDetector:
        """Judges how the peer sends. Whoever reads from `socket` has it check its transfers."""
        ...

    @property
    def socket(self) -> socket.socket: ...

    def take_first(self) -> bytes:
        """The bytes that have already been read from the socket."""
        ...

    def skip(self, count: int) -> None:
        """Report that the caller has read `count` bytes from the socket."""
        ...

    def failed(self, reason: str) -> PeerFailed:
        """The error to raise if the caller finds that the peer failed."""
        ...

    def slow(self) -> PeerSlow:
        """The error to raise if the caller finds that the peer is slow."""
        ...

    async def read(self, most: int = ...) -> bytes:
        """Some bytes, `most` at most; empty when all announced bytes have been read.

        Raises `PeerSlow` if the peer sends far less than others do; then another call goes on. Raises
        `PeerFailed` if the peer ends early or sends almost nothing for too long.
        """
        ...

    def close(self) -> None: ...


class Outlet(Protocol):
    """Sends the bytes of an answer to the client. Every method may raise `ClientGone`."""

    @property
    def sent_bytes(self) -> int:
        """How many bytes have been sent to the client so far, also after an error."""
        ...

    async def write(self, piece: bytes) -> None: ...

    async def send_file(self, blob: LocalBlob, span: Span) -> None:
        """Raises `SourceFailed` if the file ends early or cannot be read."""
        ...

    async def relay(self, stream: PeerStream) -> None:
        """Raises `PeerFailed` if the peer ends early or stalls, `PeerSlow` as `PeerStream.read` does.

        After `PeerSlow`, another call goes on with the same stream.
        """
        ...


class Peers(Protocol):
    """The registries of other nodes."""

    async def fetch(
        self, peer: Peer, target: Blob | ManifestByDigest, wanted: ByteRange | None
    ) -> PeerStream:
        """Ask a peer for content that it holds itself, and wait for the first bytes.

        Raises `PeerFailed`, `ManifestTooLarge` if it is a manifest of more than 4 MiB, or
        `RangeNotSatisfiable`. It has no time limit; the caller cancels it.
        """
        ...

    async def size_of(self, peer: Peer, target: Blob) -> int:
        """The blob's size at the peer. Raises `PeerFailed`."""
        ...

    async def digest_of(self, peer: Peer, target: ManifestByTag) -> Digest:
        """The tag's digest on the peer's node. Raises `PeerFailed`."""
        ...
