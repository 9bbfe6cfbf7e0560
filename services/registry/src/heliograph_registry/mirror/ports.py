"""What answering a request needs from outside."""

import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

from heliograph_registry.mirror.domain.peer import Peer, Resolution
from heliograph_registry.mirror.domain.ranges import ByteRange, Span
from heliograph_registry.mirror.domain.target import Blob, ManifestByDigest, ManifestByTag
from heliograph_registry.mirror.errors import PeerFailed
from heliograph_shared.digest import Digest


class LocalBlob(Protocol):
    """An open blob of this node; stays readable when it is removed meanwhile. The holder closes it."""

    @property
    def size_bytes(self) -> int: ...

    def fileno(self) -> int: ...

    async def read(self, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`, empty only at the end. Raises `OSError`."""
        ...

    def close(self) -> None: ...


class Content(Protocol):
    """This node's blobs, by digest."""

    async def open(self, digest: Digest) -> LocalBlob | None:
        """None when the node does not hold it, or cannot read it."""
        ...

    def lacks(self, digest: Digest) -> bool:
        """Whether there is no such blob."""
        ...


class Spool(Protocol):
    """Keeps bytes out of the client's sight until they have proven to be the right ones."""

    async def verified(
        self, digest: Digest, size_bytes: int, pieces: AsyncIterator[bytes]
    ) -> LocalBlob | None:
        """The blob, None when the bytes have another digest. Raises `OSError` when there is no room."""
        ...


class NodeFacts(Protocol):
    """What this node's indexer tells of its node."""

    def digest_of(self, tag_reference: str) -> Digest | None: ...

    @property
    def addresses(self) -> frozenset[str]:
        """Where this very registry is reached, to leave it out of its own peers."""
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
        """One for each key, a digest or a tag reference; `failed` are nodes that just did not deliver.

        With `wait_s` the answer for a single digest that nobody holds may take that much longer: until
        others have a copy, or `GO_UPSTREAM`.

        Raises `ResolverUnavailable` when nobody could answer, which is not nobody holding it.
        """
        ...


class PeerAddresses(Protocol):
    """Where other nodes may be, of which nothing else is known."""

    async def addresses(self, count: int) -> Sequence[str]:
        """At most `count` registries, `host:port`, drawn at random. Takes 50 ms at most."""
        ...


class PeerStream(Protocol):
    """A peer's answer, its first bytes in hand. The holder closes it.

    It is read by `read` alone, or by `take_first`, from `socket`, and told of that by `skip`.
    """

    @property
    def span(self) -> Span:
        """The bytes that it announced; of an empty body `last` lies before `first`."""
        ...

    @property
    def left_bytes(self) -> int: ...

    @property
    def stall_s(self) -> float:
        """The peer has failed when it sends next to nothing for that long."""
        ...

    @property
    def socket(self) -> socket.socket: ...

    def take_first(self) -> bytes:
        """The bytes that have been read from the socket already."""
        ...

    def skip(self, count: int) -> None:
        """So many bytes have been read from the socket."""
        ...

    def failed(self, reason: str) -> PeerFailed: ...

    async def read(self, most: int = ...) -> bytes:
        """Some bytes, `most` at most, empty once all that were announced have come.

        Raises `PeerFailed` when the peer ends early or sends nothing for too long.
        """
        ...

    def close(self) -> None: ...


class Outlet(Protocol):
    """Where the bytes of an answer go. All of it raises `ClientGone`."""

    @property
    def sent_bytes(self) -> int:
        """What the client has been given so far, also when it then failed."""
        ...

    async def write(self, piece: bytes) -> None: ...

    async def send_file(self, blob: LocalBlob, span: Span) -> None:
        """Raises `SourceFailed` when the file ends early or cannot be read."""
        ...

    async def relay(self, stream: PeerStream) -> None:
        """Raises `PeerFailed` when the peer ends early or stalls."""
        ...


class Peers(Protocol):
    """The registries of other nodes."""

    async def fetch(
        self, peer: Peer, target: Blob | ManifestByDigest, wanted: ByteRange | None
    ) -> PeerStream:
        """Ask a peer for content of its own, and wait for the first bytes.

        Raises `PeerFailed`, or `RangeNotSatisfiable`. Has no deadline of its own: the caller cancels.
        """
        ...

    async def size_of(self, peer: Peer, target: Blob) -> int:
        """How many bytes the peer would send. Raises `PeerFailed`."""
        ...

    async def digest_of(self, peer: Peer, target: ManifestByTag) -> Digest:
        """What the tag names on the peer's own node. Raises `PeerFailed`."""
        ...
