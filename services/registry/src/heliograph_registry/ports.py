"""What answering a request needs from outside."""

from collections.abc import Sequence
from typing import Protocol

from heliograph_registry.domain.peer import Peer, Resolution
from heliograph_registry.domain.ranges import ByteRange, Span
from heliograph_registry.domain.target import Blob, ManifestByDigest
from heliograph_shared.digest import Digest


class LocalBlob(Protocol):
    """An open blob of this node; stays readable when it is removed meanwhile. The holder closes it."""

    @property
    def size_bytes(self) -> int: ...

    async def read(self, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`, empty only at the end. Raises `OSError`."""
        ...

    def close(self) -> None: ...


class Content(Protocol):
    """This node's blobs, by digest."""

    async def open(self, digest: Digest) -> LocalBlob | None:
        """None when the node does not hold it, or cannot read it."""
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
        self, key: Digest | str, *, timeout_s: float, failed: Sequence[Peer] = ()
    ) -> Resolution:
        """`key` is a digest or a tag reference; `failed` are peers that just did not deliver.

        Raises `ResolverUnavailable` when nobody could answer, which is not nobody holding it.
        """
        ...


class PeerStream(Protocol):
    """A peer's answer, its first bytes in hand. The holder closes it."""

    @property
    def span(self) -> Span:
        """The bytes that it announced; of an empty body `last` lies before `first`."""
        ...

    async def read(self) -> bytes:
        """Some bytes, empty once all that were announced have come.

        Raises `PeerFailed` when the peer ends early or sends nothing for too long.
        """
        ...

    def close(self) -> None: ...


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
