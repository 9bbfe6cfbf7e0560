"""Finds content while no router answers: it asks peers directly, those it remembers or those that DNS names.

A few peers are asked at a time, and a remembered peer is only used if it says that it still has the content.
`RouterlessResolver` wraps the routers' `Resolver`, so the rest of the mirror sees no difference.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import structlog
from cachetools import LRUCache

from heliograph_registry.mirror.domain.peer import Outcome, Peer, Resolution, without_own_node
from heliograph_registry.mirror.domain.reputation import Reputation
from heliograph_registry.mirror.domain.target import Blob, ManifestByTag, Name
from heliograph_registry.mirror.errors import PeerFailed, ResolverUnavailable
from heliograph_registry.mirror.hedging import race
from heliograph_registry.mirror.ports import NodeFacts, PeerAddresses, Peers, Resolver
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest

log = structlog.get_logger()

_MOST_ASKED = 8
_STAGGER_S, _SLOW_S = 0.01, 0.05
_MOST_REMEMBERED = 4096
_MOST_FOUND = 4
_ANY = Name(None, "any")
"""The name in requests by digest; a registry finds a blob by its digest under any name."""


class RouterlessResolver:
    def __init__(
        self,
        routers: Resolver,
        peers: Peers,
        discovery: PeerAddresses,
        facts: NodeFacts,
        *,
        node: str,
        ask_s: float,
    ) -> None:
        """`node` is this node's name; it is never asked. `ask_s` is the time that peers have to answer."""
        self._routers, self._peers, self._discovery, self._facts = routers, peers, discovery, facts
        self._node, self._ask_s = node, ask_s
        self._remembered: LRUCache[Digest | str, tuple[Peer, ...]] = LRUCache(_MOST_REMEMBERED)
        self._found: LRUCache[str, Peer] = LRUCache(_MOST_FOUND)
        self._reputation = Reputation()

    async def resolve(
        self,
        keys: Sequence[Digest | str],
        *,
        timeout_s: float,
        failed: Iterable[str] = (),
        wait_s: float = 0,
    ) -> list[Resolution]:
        """The routers' answer. If they have none, a single key is looked for at peers.

        Raises what the routers' `resolve` raises.
        """
        failed = frozenset(failed)
        try:
            answers = await self._routers.resolve(keys, timeout_s=timeout_s, failed=failed, wait_s=wait_s)
        except ResolverUnavailable:
            found = await self._ask_peers(keys, failed)
            if found is None:
                raise
            return [found]
        for key, answer in zip(keys, answers, strict=True):
            if answer.peers:
                self._remembered[key] = answer.peers
        if answers[0].outcome is Outcome.NOT_SYNCED:
            found = await self._ask_peers(keys, failed)
            return answers if found is None else [found]
        return answers

    def remembered(self, most: int) -> tuple[Peer, ...]:
        """At most `most` nodes that routers named lately, each once."""
        known = {peer.node: peer for peers in self._remembered.values() for peer in peers}
        return tuple(known.values())[-most:]

    async def _ask_peers(self, keys: Sequence[Digest | str], failed: frozenset[str]) -> Resolution | None:
        """None if no peer has it, or for several keys: those of a lookahead are looked for when needed."""
        if len(keys) > 1:
            return None
        target = _target(keys[0])
        if isinstance(target, ManifestByTag) and self._facts.digest_of(keys[0]) is not None:
            return None  # this node knows the tag itself
        peers = await self._candidates(keys[0], failed)
        if not peers:
            return None
        try:
            async with asyncio.timeout(self._ask_s):
                found = await race(
                    [partial(self._ask, peer, target) for peer in peers],
                    stagger_s=_STAGGER_S,
                    discard=lambda _: None,
                    failures=(PeerFailed,),
                )
        except (PeerFailed, TimeoutError):
            return None
        peer = found.peers[0]
        self._found.pop(peer.node, None)
        self._found[peer.node] = peer
        log.info("found without a router", key=keys[0], peer=peer.node)
        return found

    async def _candidates(self, key: Digest | str, failed: frozenset[str]) -> tuple[Peer, ...]:
        """Peers remembered for the key, peers that had another one lately, others; those that failed last.

        Who has the tag of an image or its manifest mostly has the rest of it, too.
        """
        lately = reversed(list(self._found.values()))
        known = tuple({peer.node: peer for peer in (*self._remembered.get(key, ()), *lately)}.values())
        addresses = {address for peer in known for address in peer.addresses}
        discovered = await self._discovery.addresses(_MOST_ASKED)
        unknown = (Peer(address, (address,)) for address in discovered if address not in addresses)
        peers = without_own_node((*known, *unknown), self._node, self._facts.addresses)
        ordered = self._reputation.order(peers, time.monotonic())
        return tuple(sorted(ordered, key=lambda peer: peer.node in failed))[:_MOST_ASKED]

    async def _ask(self, peer: Peer, target: Blob | ManifestByTag) -> Resolution:
        began = time.monotonic()
        try:
            if isinstance(target, Blob):
                size_bytes = await self._peers.size_of(peer, target)
                known = replace(peer, size_bytes=size_bytes)
                return Resolution(Outcome.FOUND, target.digest, (known,))
            return Resolution(Outcome.FOUND, await self._peers.digest_of(peer, target), (peer,))
        except PeerFailed as error:
            if not error.healthy:
                self._reputation.failed(peer.node, time.monotonic())
            raise
        except asyncio.CancelledError:
            if time.monotonic() - began >= _SLOW_S:  # cancelled because it was slow
                self._reputation.failed(peer.node, time.monotonic())
            raise


def _target(key: Digest | str) -> Blob | ManifestByTag:
    """What to request from a peer. `key` is a digest or a tag reference, `registry/repository:tag`."""
    try:
        return Blob(_ANY, parse_digest(key))
    except InvalidDigest:
        name, _, tag = key.rpartition(":")
        registry, _, repository = name.partition("/")
        return ManifestByTag(Name(registry, repository), tag)
