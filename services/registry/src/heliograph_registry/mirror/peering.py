"""Gets content from peers: in which order, when to try the next one, and how reliable each has been."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

import structlog

from heliograph_registry.mirror.domain.latency import RecentLatency
from heliograph_registry.mirror.domain.manifest import Manifest, verified, verified_platform
from heliograph_registry.mirror.domain.peer import Peer, Resolution, without_own_node
from heliograph_registry.mirror.domain.ranges import ByteRange, Span
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.reputation import Reputation
from heliograph_registry.mirror.domain.target import Blob, ManifestByDigest
from heliograph_registry.mirror.domain.throughput import Throughput
from heliograph_registry.mirror.errors import (
    ManifestTooLarge,
    NotServed,
    PeerFailed,
    PeerSlow,
    RangeNotSatisfiable,
    ResolverUnavailable,
)
from heliograph_registry.mirror.hedging import race
from heliograph_registry.mirror.ports import LocalBlob, NodeFacts, Peers, PeerStream, Resolver, Spool
from heliograph_shared.digest import Digest, algorithm_of, digest_of
from heliograph_shared.image import MAX_MANIFEST_BYTES, NotAManifest

log = structlog.get_logger()

T = TypeVar("T")

_ANOTHER_PEER_S = 2.0
_MOST_FAILURES = 2  # of one peer within one transfer
_STAGGER_S, _LEAST_STAGGER_S, _MOST_STAGGER_S = 0.05, 0.01, 0.1


class Peering:
    def __init__(
        self,
        *,
        node: str,
        facts: NodeFacts,
        resolver: Resolver,
        peers: Peers,
        attempts: int,
        resolve_timeout_s: float,
        throughput: Throughput,
        fetched: Callable[[str, int], None] = lambda _node, _size: None,
    ) -> None:
        """`attempts`: peers that are tried for one request; if all fail, as many others.

        `fetched` is called with node and bytes.
        """
        self.fetched, self.throughput = fetched, throughput
        self._node, self._facts, self._resolver, self._peers = node, facts, resolver, peers
        self._attempts, self._resolve_timeout_s = attempts, resolve_timeout_s
        self._reputation = Reputation()
        self._latency = RecentLatency(unknown_s=_STAGGER_S, least_s=_LEAST_STAGGER_S, most_s=_MOST_STAGGER_S)

    async def resolve(
        self, keys: Sequence[Digest | str], failed: Sequence[str] = (), *, wait_s: float = 0
    ) -> list[Resolution]:
        """One resolution for each key. Raises `NotServed`.

        Nodes that failed, in this transfer or lately, are named last. With `wait_s` and a single digest that
        no node holds yet, the answer may take that much longer.
        """
        last = dict.fromkeys([*failed, *self._reputation.last(time.monotonic())])
        try:
            return await self._resolver.resolve(
                keys, timeout_s=self._resolve_timeout_s, failed=last, wait_s=wait_s
            )
        except ResolverUnavailable as error:
            if error.asked:
                log.warning("no router answered", keys=len(keys), first=keys[0], reason=error.reason)
            raise NotServed(Reason.RESOLVER_UNAVAILABLE) from error

    async def manifest(self, target: ManifestByDigest, resolution: Resolution) -> tuple[Manifest, str]:
        """The manifest, verified in full, and the node it came from. Raises `NotServed`."""
        return await self._whole(target, resolution, verified)

    async def platform(self, config: Blob, resolution: Resolution) -> tuple[str, str]:
        """What an image's config states, and the node the config came from. Raises `NotServed`."""
        return await self._whole(config, resolution, verified_platform)

    async def _whole(
        self,
        target: Blob | ManifestByDigest,
        resolution: Resolution,
        read: Callable[[Digest, bytes], T],
    ) -> tuple[T, str]:
        """At most 4 MiB, passed through `read`, which may raise `NotAManifest`; and the node it came from."""
        too_large: list[ManifestTooLarge] = []

        async def attempt(peer: Peer) -> tuple[T, str]:
            try:
                stream = await self._peers.fetch(peer, target, None)
            except ManifestTooLarge as error:
                too_large.append(error)
                raise
            try:
                if stream.span.size_bytes > MAX_MANIFEST_BYTES:  # a config, which is fetched as a blob
                    raise PeerFailed(peer.node, "sent more than 4 MiB")
                body = bytearray()
                while chunk := await stream.read():
                    body += chunk
                self.fetched(peer.node, len(body))
                return read(target.digest, bytes(body)), peer.node
            except NotAManifest as error:
                self._reputation.sent_wrong_bytes(peer.node, time.monotonic())
                raise PeerFailed(peer.node, str(error)) from error
            finally:
                stream.close()

        try:
            return await self._race(resolution, attempt, discard=lambda _: None)
        except NotServed as error:
            if too_large:
                raise NotServed(Reason.NOT_A_MANIFEST) from error
            raise

    async def size_of(self, target: Blob, resolution: Resolution) -> tuple[int, str]:
        """The blob's size, and the node that stated it. Raises `NotServed`."""

        async def attempt(peer: Peer) -> tuple[int, str]:
            size_bytes = await self._peers.size_of(peer, target)
            _check_size(peer, target, size_bytes)
            return size_bytes, peer.node

        return await self._race(resolution, attempt, discard=lambda _: None)

    async def open(
        self, target: Blob, wanted: ByteRange | None, resolution: Resolution
    ) -> tuple[Peer, PeerStream]:
        """A stream of the range, with its first bytes. Raises `NotServed` or `RangeNotSatisfiable`."""
        return await self._race(resolution, self._opening(target, wanted), discard=_close)

    async def _open_at(
        self,
        peers: tuple[Peer, ...],
        target: Blob,
        wanted: ByteRange | None,
        resolution: Resolution,
        begun_bytes: int = 0,
    ) -> tuple[Peer, PeerStream]:
        """As `open`, and asks nobody but `peers`.

        `begun_bytes` is the blob's size as a client was already told, 0 if it was not.
        """
        candidates = self._candidates(replace(resolution, peers=peers))[: self._attempts]
        return await self._race_once(candidates, self._opening(target, wanted, begun_bytes), _close)

    def _opening(
        self, target: Blob, wanted: ByteRange | None, begun_bytes: int = 0
    ) -> Callable[[Peer], Awaitable[tuple[Peer, PeerStream]]]:
        async def attempt(peer: Peer) -> tuple[Peer, PeerStream]:
            try:
                stream = await self._peers.fetch(peer, target, wanted)
            except RangeNotSatisfiable as error:
                _check_size(peer, target, error.size_bytes, begun_bytes)
                raise
            try:
                _check_size(peer, target, stream.span.size_bytes, begun_bytes)
            except PeerFailed:
                stream.close()
                raise
            return peer, stream

        return attempt

    async def resume(
        self,
        target: Blob,
        span: Span,
        resolution: Resolution,
        offset: int,
        failed: tuple[Peer, ...],
        instead_of: Peer | None = None,
    ) -> tuple[Peer, PeerStream]:
        """The rest of `span` from `offset` on: from a peer not tried yet, else from one the router names now.

        A peer that failed once in this transfer is tried last; one that failed twice and `instead_of` are
        not tried. Raises `NotServed`, `RangeNotSatisfiable` or `TimeoutError`.
        """
        wanted = ByteRange(offset, span.last)
        failures = Counter(peer.node for peer in failed)
        if instead_of is not None:
            failures[instead_of.node] = _MOST_FAILURES
        untried = tuple(peer for peer in resolution.peers if not failures[peer.node])
        if untried:
            with suppress(NotServed, TimeoutError):
                async with asyncio.timeout(_ANOTHER_PEER_S):
                    return await self._open_at(untried, target, wanted, resolution, span.size_bytes)
            failures.update(peer.node for peer in untried)
        async with asyncio.timeout(_ANOTHER_PEER_S):
            (renewed,) = await self.resolve([target.digest], sorted(failures))
            left = (peer for peer in renewed.peers if failures[peer.node] < _MOST_FAILURES)
            ordered = tuple(sorted(left, key=lambda peer: failures[peer.node]))
            return await self._open_at(ordered, target, wanted, resolution, span.size_bytes)

    async def verified(
        self, target: Blob, resolution: Resolution, suspects: frozenset[str], spool: Spool
    ) -> tuple[LocalBlob, str]:
        """The whole blob, verified, and the node it came from. `suspects` are asked last.

        Raises `NotServed`.
        """
        peers: Sequence[Peer] = self._candidates(resolution)
        tried: list[Peer] = []
        while peers:
            for peer in sorted(peers, key=lambda peer: peer.node in suspects):
                blob = await self._verified_from(peer, target, resolution, spool, only=peer is peers[-1])
                if blob is not None:
                    return blob, peer.node
            tried += peers
            peers = await self._others(target.digest, tried)
        raise NotServed(Reason.NOT_VERIFIED)

    async def _verified_from(
        self, peer: Peer, target: Blob, resolution: Resolution, spool: Spool, *, only: bool
    ) -> LocalBlob | None:
        """None if the peer does not deliver, or wrong bytes. Raises `NotServed` if nothing can be spooled."""
        try:
            async with asyncio.timeout(_ANOTHER_PEER_S):
                _, stream = await self._open_at((peer,), target, None, resolution)
        except (NotServed, TimeoutError):
            return None
        try:
            blob = await spool.verified(target.digest, stream.span.size_bytes, _pieces(stream, only=only))
        except PeerFailed as error:
            self.failed(error)
            return None
        except OSError as error:
            log.warning("cannot hash a blob before it is served", digest=target.digest, reason=str(error))
            raise NotServed(Reason.NOT_VERIFIED) from error
        finally:
            stream.close()
        self.fetched(peer.node, stream.span.size_bytes)
        if blob is None:
            log.warning("peer sent wrong bytes, it is asked last now", peer=peer.node, digest=target.digest)
            self._reputation.sent_wrong_bytes(peer.node, time.monotonic())
        return blob

    def failed(self, error: PeerFailed) -> None:
        """Ask this peer last for a while, unless the error says that it is healthy."""
        if not error.healthy:
            self._reputation.failed(error.peer, time.monotonic())

    def order(self, resolution: Resolution) -> tuple[Peer, ...]:
        """The peers in the order in which they would be asked; a request tries the first `attempts`."""
        peers = without_own_node(resolution.peers, self._node, self._facts.addresses)
        return self._reputation.order(peers, time.monotonic())

    def asked_last(self) -> dict[str, float]:
        """Nodes that failed or sent wrong bytes, and for how many more seconds they are asked last."""
        return self._reputation.left_s(time.monotonic())

    def _candidates(self, resolution: Resolution) -> tuple[Peer, ...]:
        peers = self.order(resolution)
        if not peers:
            raise NotServed(resolution.miss_reason)
        return peers

    async def _race(
        self,
        resolution: Resolution,
        attempt: Callable[[Peer], Awaitable[T]],
        *,
        discard: Callable[[T], None],
    ) -> T:
        peers = self._candidates(resolution)[: self._attempts]
        try:
            return await self._race_once(peers, attempt, discard)
        except NotServed:
            others = await self._others(resolution.digest, peers)
            if not others:
                raise
        return await self._race_once(others, attempt, discard)

    async def _race_once(
        self,
        peers: Sequence[Peer],
        attempt: Callable[[Peer], Awaitable[T]],
        discard: Callable[[T], None],
    ) -> T:
        try:
            return await race(
                [partial(self._timed, attempt, peer) for peer in peers],
                stagger_s=self._latency.p90_s,
                discard=discard,
                failures=(PeerFailed,),
            )
        except PeerFailed as error:
            log.info("no peer delivered", peers=[peer.node for peer in peers], last=str(error))
            raise NotServed(Reason.PEERS_FAILED) from error

    async def _others(self, digest: Digest | None, tried: Sequence[Peer]) -> tuple[Peer, ...]:
        """Holders that the router has not named yet: it names no more than a request tries."""
        if digest is None or len(tried) < self._attempts:
            return ()
        nodes = {peer.node for peer in tried}
        try:
            (renewed,) = await self.resolve([digest], sorted(nodes))
        except NotServed:
            return ()
        return tuple(peer for peer in self.order(renewed) if peer.node not in nodes)[: self._attempts]

    async def _timed(self, attempt: Callable[[Peer], Awaitable[T]], peer: Peer) -> T:
        began = time.monotonic()
        try:
            result = await attempt(peer)
        except PeerFailed as error:
            self.failed(error)
            raise
        except asyncio.CancelledError:
            if time.monotonic() - began >= _MOST_STAGGER_S:  # cancelled because it was slow
                self._reputation.failed(peer.node, time.monotonic())
            raise
        now = time.monotonic()
        self._latency.add(now - began)
        self._reputation.delivered(peer.node, now)
        return result


def _close(late: tuple[Peer, PeerStream]) -> None:
    late[1].close()


async def _pieces(stream: PeerStream, *, only: bool) -> AsyncIterator[bytes]:
    """The stream's bytes. Raises `PeerSlow` unless it is the `only` one that is left."""
    while stream.left_bytes:
        try:
            yield await stream.read()
        except PeerSlow:
            if not only:
                raise


def is_possible_size(digest: Digest, size_bytes: int) -> bool:
    """Whether content with this digest can have this size.

    Only the empty blob's digest may have size 0: a crash leaves empty files, and containerd fails a pull
    whose answer has no byte.
    """
    return size_bytes != 0 or digest == digest_of(b"", algorithm_of(digest))


def _check_size(peer: Peer, target: Blob, size_bytes: int, begun_bytes: int = 0) -> None:
    """Raises `PeerFailed` unless the peer states the size that it announced, and `begun_bytes` if not 0.

    Nobody is blamed for different sizes until bytes prove which one is wrong: the peer is not asked last.
    """
    if not is_possible_size(target.digest, size_bytes):
        raise PeerFailed(peer.node, f"stated an impossible size, {size_bytes} bytes")
    for known_bytes, source in ((peer.size_bytes, "it announced"), (begun_bytes, "another peer stated")):
        if known_bytes not in {0, size_bytes}:
            reason = f"stated {size_bytes} bytes, {source} {known_bytes}"
            raise PeerFailed(peer.node, reason, healthy=True)
