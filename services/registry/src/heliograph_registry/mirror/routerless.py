"""Finds content when no router can say where it is: at peers that are remembered, or that DNS names.

They are asked directly, a few at a time, whether they have it; nobody is believed for what was true earlier.
It is a `Resolver` around the routers', so that nothing else needs to know.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from functools import partial

import structlog
from cachetools import LRUCache

from heliograph_registry.mirror.domain.peer import Outcome, Peer, Resolution, others
from heliograph_registry.mirror.domain.reputation import Reputation
from heliograph_registry.mirror.domain.target import Blob, ManifestByTag, Name
from heliograph_registry.mirror.errors import PeerFailed, ResolverUnavailable
from heliograph_registry.mirror.hedging import race
from heliograph_registry.mirror.ports import NodeFacts, PeerAddresses, Peers, Resolver
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest

log = structlog.get_logger()

_MOST_ASKED = 8
_ASK_S = 0.1
_STAGGER_S, _SLOW_S = 0.01, 0.05
_MOST_REMEMBERED = 4096
_ANY = Name(None, "any")
"""Content is asked for by digest, which is the same in every repository."""


class RouterlessResolver:
    def __init__(
        self, routers: Resolver, peers: Peers, discovery: PeerAddresses, facts: NodeFacts, *, node: str
    ) -> None:
        """`node` is this node's name, which never asks itself."""
        self._routers, self._peers, self._discovery, self._facts = routers, peers, discovery, facts
        self._node = node
        self._remembered: LRUCache[Digest | str, tuple[Peer, ...]] = LRUCache(_MOST_REMEMBERED)
        self._reputation = Reputation()

    async def resolve(
        self,
        keys: Sequence[Digest | str],
        *,
        timeout_s: float,
        failed: Iterable[str] = (),
        wait_s: float = 0,
    ) -> list[Resolution]:
        """As the routers say; a single key they cannot tell of is looked for. Raises as they do."""
        failed = frozenset(failed)
        try:
            answers = await self._routers.resolve(keys, timeout_s=timeout_s, failed=failed, wait_s=wait_s)
        except ResolverUnavailable:
            found = await self._look_for(keys, failed)
            if found is None:
                raise
            return [found]
        for key, answer in zip(keys, answers, strict=True):
            if answer.peers:
                self._remembered[key] = answer.peers
        if answers[0].outcome is Outcome.NOT_SYNCED:
            found = await self._look_for(keys, failed)
            return answers if found is None else [found]
        return answers

    def remembered(self, most: int) -> tuple[Peer, ...]:
        """At most `most` nodes that content was found at lately, each once."""
        known = {peer.node: peer for peers in self._remembered.values() for peer in peers}
        return tuple(known.values())[-most:]

    async def _look_for(self, keys: Sequence[Digest | str], failed: frozenset[str]) -> Resolution | None:
        """Of many keys, asked for ahead of need, each is looked for when it is needed."""
        if len(keys) > 1:
            return None
        target = _target(keys[0])
        if isinstance(target, ManifestByTag) and self._facts.digest_of(keys[0]) is not None:
            return None  # this node has an answer of its own
        peers = await self._candidates(keys[0], failed)
        if not peers:
            return None
        try:
            async with asyncio.timeout(_ASK_S):
                found = await race(
                    [partial(self._ask, peer, target) for peer in peers],
                    stagger_s=_STAGGER_S,
                    discard=lambda _: None,
                    failures=(PeerFailed,),
                )
        except (PeerFailed, TimeoutError):
            return None
        log.info("found without a router", key=keys[0], peer=found.peers[0].node)
        return found

    async def _candidates(self, key: Digest | str, failed: frozenset[str]) -> tuple[Peer, ...]:
        """Those remembered first, then others; those that just failed last."""
        known = self._remembered.get(key, ())
        addresses = {address for peer in known for address in peer.addresses}
        drawn = await self._discovery.addresses(_MOST_ASKED)
        strangers = (Peer(address, (address,)) for address in drawn if address not in addresses)
        peers = others((*known, *strangers), self._node, self._facts.addresses)
        ordered = self._reputation.order(peers, time.monotonic())
        return tuple(sorted(ordered, key=lambda peer: peer.node in failed))[:_MOST_ASKED]

    async def _ask(self, peer: Peer, target: Blob | ManifestByTag) -> Resolution:
        began = time.monotonic()
        try:
            if isinstance(target, Blob):
                size_bytes = await self._peers.size_of(peer, target)
                return Resolution(Outcome.FOUND, target.digest, size_bytes, (peer,))
            return Resolution(Outcome.FOUND, await self._peers.digest_of(peer, target), 0, (peer,))
        except PeerFailed as error:
            if not error.healthy:
                self._reputation.failed(peer.node, time.monotonic())
            raise
        except asyncio.CancelledError:
            if time.monotonic() - began >= _SLOW_S:  # given up, and slow enough to be to blame
                self._reputation.failed(peer.node, time.monotonic())
            raise


def _target(key: Digest | str) -> Blob | ManifestByTag:
    """What to ask a peer for; `key` is a digest or a tag reference, `registry/repository:tag`."""
    try:
        return Blob(_ANY, parse_digest(key))
    except InvalidDigest:
        name, _, tag = key.rpartition(":")
        registry, _, repository = name.partition("/")
        return ManifestByTag(Name(registry, repository), tag)
