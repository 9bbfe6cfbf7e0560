"""Answers a request: this node's content first, else a peer's, else `NotServed`, in bounded time.

Every step down the ladder is bounded by one deadline, so that containerd is never kept from its next host.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar, assert_never

import structlog
from cachetools import LRUCache

from heliograph_registry.domain.manifest import MAX_MANIFEST_BYTES, Manifest, NotAManifest, verified
from heliograph_registry.domain.peer import Outcome, Peer, Resolution, others
from heliograph_registry.domain.ranges import ByteRange, Span
from heliograph_registry.domain.target import Blob, ManifestByDigest, ManifestByTag, Name
from heliograph_registry.errors import (
    NotServed,
    PeerFailed,
    RangeNotSatisfiable,
    Reason,
    ResolverUnavailable,
)
from heliograph_registry.ports import Content, NodeFacts, Peers, PeerStream, Resolver
from heliograph_registry.racing import race
from heliograph_registry.relay import Body, LocalBody, Relay
from heliograph_shared.digest import Digest, algorithm_of, digest_of
from heliograph_shared.filters import ImageFilter

log = structlog.get_logger()

T = TypeVar("T")

LOCAL = "local"
_CACHED_MANIFEST_BYTES = 16 << 20
_RESOLVE_SHARE = 0.6  # of the deadline: what is left then still reaches a peer or the disk
_PEER_STAGGER_S = 0.05
_RESUME_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """`first_byte_s`: seconds until a request is answered or given up; `peers`: how many are tried."""

    first_byte_s: float
    peers: int


@dataclass(frozen=True, slots=True)
class BlobAnswer:
    """`partial` when a range was asked for; `body` is None for a HEAD, else the caller closes it."""

    span: Span
    partial: bool
    source: str
    body: Body | None


class Mirror:
    def __init__(
        self,
        *,
        node: str,
        content: Content,
        facts: NodeFacts,
        resolver: Resolver,
        peers: Peers,
        images: ImageFilter,
        limits: Limits,
    ) -> None:
        self._node, self._content, self._facts = node, content, facts
        self._resolver, self._peers, self._images = resolver, peers, images
        self._limits = limits
        self._manifests: LRUCache[Digest, Manifest] = LRUCache(
            _CACHED_MANIFEST_BYTES, getsizeof=lambda manifest: len(manifest.body)
        )
        self._relayed: LRUCache[Digest, tuple[Manifest, str]] = LRUCache(
            _CACHED_MANIFEST_BYTES, getsizeof=lambda relayed: len(relayed[0].body)
        )

    async def manifest(
        self, target: ManifestByTag | ManifestByDigest, *, from_peer: bool
    ) -> tuple[Manifest, str]:
        """The manifest, verified in full, and its source. Raises `NotServed`."""
        self._admit(target.name, target.tag if isinstance(target, ManifestByTag) else None)
        async with self._deadline():
            if isinstance(target, ManifestByTag):
                digest, resolution = await self._tag(target, from_peer=from_peer)
            else:
                digest, resolution = target.digest, None
            local = await self._local_manifest(digest)
            if local is not None:
                return local, LOCAL
            if from_peer:
                raise NotServed(Reason.NOT_LOCAL)
            if digest in self._relayed:
                return self._relayed[digest]
            return await self._remote_manifest(
                ManifestByDigest(target.name, digest), resolution or await self._resolve(digest)
            )

    async def blob(
        self, target: Blob, wanted: ByteRange | None, *, from_peer: bool, head: bool
    ) -> BlobAnswer:
        """Raises `NotServed` or `RangeNotSatisfiable`."""
        self._admit(target.name, None)
        async with self._deadline():
            local = await self._local_blob(target.digest, wanted, head=head)
            if local is not None:
                return local
            if from_peer:
                raise NotServed(Reason.NOT_LOCAL)
            resolution = await self._resolve(target.digest)
            if head:
                return await self._remote_head(target, resolution)
            peer, stream = await self._open(target, wanted, resolution)
        resume = partial(self._resume, target, stream.span)
        return BlobAnswer(stream.span, wanted is not None, f"peer/{peer.node}", Relay(peer, stream, resume))

    def _admit(self, name: Name, tag: str | None) -> None:
        if name.registry is not None and not self._images.admits(name.registry, name.repository, tag):
            raise NotServed(Reason.FILTERED)

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limits.first_byte_s):
                yield
        except TimeoutError as error:
            raise NotServed(Reason.TIMEOUT) from error

    async def _tag(self, target: ManifestByTag, *, from_peer: bool) -> tuple[Digest, Resolution | None]:
        """What the tag names: the router knows the newest; this node's state file when it cannot say."""
        reference = target.tag_reference
        if reference is None:
            raise NotServed(Reason.NO_REGISTRY)
        own = self._facts.digest_of(reference)
        if from_peer:
            if own is None:
                raise NotServed(Reason.NOT_LOCAL)
            return own, None
        try:
            resolution = await self._resolve(reference)
        except NotServed:
            if own is None:
                raise
            return own, None
        if resolution.digest is not None:
            return resolution.digest, resolution
        if own is None:
            raise NotServed(_why_none(resolution))
        return own, None

    async def _resolve(self, key: Digest | str, failed: tuple[Peer, ...] = ()) -> Resolution:
        try:
            return await self._resolver.resolve(
                key, timeout_s=self._limits.first_byte_s * _RESOLVE_SHARE, failed=failed
            )
        except ResolverUnavailable as error:
            if error.asked:
                log.warning("no router answered", key=key, reason=error.reason)
            raise NotServed(Reason.RESOLVER_UNAVAILABLE) from error

    async def _local_manifest(self, digest: Digest) -> Manifest | None:
        cached = self._manifests.get(digest)
        if cached is not None:
            return cached
        blob = await self._content.open(digest)
        if blob is None:
            return None
        try:
            if blob.size_bytes > MAX_MANIFEST_BYTES:
                raise NotServed(Reason.NOT_A_MANIFEST)
            manifest = verified(digest, await blob.read(0, blob.size_bytes))
        except OSError as error:
            log.warning("local manifest is unreadable", digest=digest, reason=str(error))
            return None
        except NotAManifest as error:
            log.warning("local manifest is not served", digest=digest, reason=str(error))
            return None
        finally:
            blob.close()
        self._manifests[digest] = manifest
        return manifest

    async def _remote_manifest(
        self, target: ManifestByDigest, resolution: Resolution
    ) -> tuple[Manifest, str]:
        async def attempt(peer: Peer) -> tuple[Manifest, str]:
            stream = await self._peers.fetch(peer, target, None)
            try:
                if stream.span.size_bytes > MAX_MANIFEST_BYTES:
                    raise PeerFailed(peer.node, "larger than a manifest may be")
                body = bytearray()
                while chunk := await stream.read():
                    body += chunk
                return verified(target.digest, bytes(body)), f"peer/{peer.node}"
            except NotAManifest as error:
                raise PeerFailed(peer.node, str(error)) from error
            finally:
                stream.close()

        relayed = await self._race(resolution, attempt, discard=lambda _: None)
        self._relayed[target.digest] = relayed
        return relayed

    async def _local_blob(self, digest: Digest, wanted: ByteRange | None, *, head: bool) -> BlobAnswer | None:
        blob = await self._content.open(digest)
        if blob is None:
            return None
        if not _may_have(digest, blob.size_bytes):
            log.warning("local blob is empty", digest=digest)
            blob.close()
            return None
        try:
            span = _span(wanted, blob.size_bytes)
            body = None if head else await LocalBody.open(blob, span)
        except OSError as error:
            log.warning("local blob is unreadable", digest=digest, reason=str(error))
            blob.close()
            return None
        except BaseException:
            blob.close()
            raise
        if body is None:
            blob.close()
        return BlobAnswer(span, wanted is not None, LOCAL, body)

    async def _remote_head(self, target: Blob, resolution: Resolution) -> BlobAnswer:
        async def attempt(peer: Peer) -> tuple[int, Peer]:
            size_bytes = await self._peers.size_of(peer, target)
            if not _may_have(target.digest, size_bytes, resolution.size_bytes):
                raise PeerFailed(peer.node, f"has {size_bytes} bytes of it")
            return size_bytes, peer

        size_bytes, peer = await self._race(resolution, attempt, discard=lambda _: None)
        return BlobAnswer(_span(None, size_bytes), partial=False, source=f"peer/{peer.node}", body=None)

    async def _open(
        self, target: Blob, wanted: ByteRange | None, resolution: Resolution
    ) -> tuple[Peer, PeerStream]:
        async def attempt(peer: Peer) -> tuple[Peer, PeerStream]:
            try:
                stream = await self._peers.fetch(peer, target, wanted)
            except RangeNotSatisfiable as error:
                if _may_have(target.digest, error.size_bytes, resolution.size_bytes):
                    raise
                raise PeerFailed(peer.node, f"has {error.size_bytes} bytes of it") from error
            if not _may_have(target.digest, stream.span.size_bytes, resolution.size_bytes):
                stream.close()
                raise PeerFailed(peer.node, f"has {stream.span.size_bytes} bytes of it")
            return peer, stream

        return await self._race(resolution, attempt, discard=lambda late: late[1].close())

    async def _resume(
        self, target: Blob, span: Span, offset: int, failed: tuple[Peer, ...]
    ) -> tuple[Peer, PeerStream]:
        """The rest of `span` from `offset` on, from another peer where there is one. Raises `NotServed`."""
        async with asyncio.timeout(_RESUME_TIMEOUT_S):
            resolution = await self._resolve(target.digest, failed)
            nodes = [peer.node for peer in failed]
            peers = tuple(sorted(resolution.peers, key=lambda peer: peer.node in nodes))
            known = replace(resolution, peers=peers, size_bytes=span.size_bytes)
            return await self._open(target, ByteRange(offset, span.last), known)

    async def _race(
        self,
        resolution: Resolution,
        attempt: Callable[[Peer], Awaitable[T]],
        *,
        discard: Callable[[T], None],
    ) -> T:
        peers = others(resolution.peers, self._node, self._facts.addresses)[: self._limits.peers]
        if not peers:
            raise NotServed(_why_none(resolution))
        try:
            return await race(
                [partial(attempt, peer) for peer in peers],
                stagger_s=_PEER_STAGGER_S,
                discard=discard,
                failures=(PeerFailed,),
            )
        except PeerFailed as error:
            log.info("no peer delivered", peers=[peer.node for peer in peers], last=str(error))
            raise NotServed(Reason.PEERS_FAILED) from error


def _may_have(digest: Digest, size_bytes: int, known_bytes: int = 0) -> bool:
    """Whether content may be of that size: what the router knows (0: nothing), and never empty by mistake.

    A crash leaves empty files, and containerd fails a pull whose answer ends without a byte.
    """
    if size_bytes == 0:
        return digest == digest_of(b"", algorithm_of(digest))
    return known_bytes in {0, size_bytes}


def _span(wanted: ByteRange | None, size_bytes: int) -> Span:
    if wanted is None:
        return Span(0, size_bytes - 1, size_bytes)
    span = wanted.of(size_bytes)
    if span is None:
        raise RangeNotSatisfiable(size_bytes)
    return span


def _why_none(resolution: Resolution) -> Reason:
    match resolution.outcome:
        case Outcome.FOUND | Outcome.NOT_FOUND:
            return Reason.NOT_FOUND
        case Outcome.NOT_SYNCED:
            return Reason.RESOLVER_UNAVAILABLE
        case Outcome.GO_UPSTREAM:
            return Reason.GO_UPSTREAM
    assert_never(resolution.outcome)
