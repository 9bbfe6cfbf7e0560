"""Routers in memory: the ports `Resolver` and `RouterQueries` as the contract suite proves them to behave."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from heliograph_registry.debug.domain.cluster import ClusterNode, ClusterTag, ClusterTags
from heliograph_registry.mirror.domain.peer import Outcome, Peer, Resolution
from heliograph_registry.mirror.errors import ResolverUnavailable
from heliograph_shared.digest import Digest, InvalidDigest, parse_digest


class MemoryRouter:
    """What the routers of a cluster know. `down` says why none answers, empty while one does."""

    def __init__(self) -> None:
        self.down = ""
        self.answers_after_s = 0.0
        self.synced = True
        self.nodes: dict[str, tuple[str, ...]] = {}
        self.tags: dict[str, Digest] = {}
        self._tagged: dict[str, set[str]] = {}
        self._holders: dict[Digest, dict[str, None]] = {}
        self._sizes: dict[tuple[str, Digest], int] = {}
        self._leaders: dict[Digest, str] = {}
        self._changed = asyncio.Event()

    def add_node(self, node: str, *addresses: str) -> None:
        self.nodes[node] = addresses

    def holds(self, node: str, digest: Digest, size_bytes: int = 0, tag: str | None = None) -> None:
        """A node announces content. `size_bytes` is 0 when it does not tell the size."""
        self._holders.setdefault(digest, {})[node] = None
        self._sizes[node, digest] = size_bytes
        if tag is not None:
            self.tags[tag] = digest
            self._tagged.setdefault(tag, set()).add(node)
        self._changed.set()
        self._changed = asyncio.Event()

    def lead(self, digest: Digest, node: str) -> None:
        """The node fetches it from upstream; others that may wait do so until there is a copy."""
        self._leaders.setdefault(digest, node)

    def leads(self, digest: Digest, node: str) -> bool:
        return self._leaders.get(digest) == node

    def holders(self, digest: Digest) -> list[str]:
        return [node for node in self._holders.get(digest, ()) if node in self.nodes]

    def size_on(self, node: str, digest: Digest) -> int:
        return self._sizes.get((node, digest), 0)

    def held_by(self) -> Counter[str]:
        """How many digests each node holds."""
        return Counter(node for nodes in self._holders.values() for node in nodes)

    def tagged_by(self, tag: str) -> int:
        return len(self._tagged[tag])

    async def changed(self) -> None:
        """Returns when a node has announced something."""
        await self._changed.wait()

    async def answer(self, timeout_s: float) -> None:
        """Returns when a router answers. Raises `ResolverUnavailable`."""
        if self.answers_after_s > timeout_s:
            await asyncio.sleep(timeout_s)
            raise ResolverUnavailable("no sign of life in time")
        await asyncio.sleep(self.answers_after_s)
        if self.down:
            raise ResolverUnavailable(self.down)


@dataclass(frozen=True, slots=True)
class ResolverQuery:
    """What a resolver was asked."""

    keys: tuple[Digest | str, ...]
    failed: tuple[str, ...]
    wait_s: float


class MemoryResolver:
    """The routers as the registry of one node asks them; `queries` are what it was asked."""

    def __init__(self, router: MemoryRouter, node: str, *, max_peers: int = 3) -> None:
        self._router, self._node, self._max_peers = router, node, max_peers
        self.queries: list[ResolverQuery] = []

    async def resolve(
        self,
        keys: Sequence[Digest | str],
        *,
        timeout_s: float,
        failed: Iterable[str] = (),
        wait_s: float = 0,
    ) -> list[Resolution]:
        failed = tuple(failed)
        self.queries.append(ResolverQuery(tuple(keys), failed, wait_s))
        await self._router.answer(timeout_s)
        found = [self._resolution(key, failed) for key in keys]
        if wait_s and len(keys) == 1 and found[0].outcome is Outcome.NOT_FOUND:
            found = [await self._waited_for(keys[0], failed, wait_s)]
        return found

    def _resolution(self, key: Digest | str, failed: tuple[str, ...]) -> Resolution:
        digest = _digest(key) or self._router.tags.get(key)
        by_tag = _digest(key) is None
        nodes = [] if digest is None else self._router.holders(digest)
        others = sorted((node for node in nodes if node != self._node), key=lambda node: node in failed)
        if digest is None or not (others or by_tag):
            return Resolution(Outcome.NOT_FOUND if self._router.synced else Outcome.NOT_SYNCED)
        peers = tuple(
            Peer(node, self._router.nodes[node], self._router.size_on(node, digest))
            for node in others[: self._max_peers]
        )
        return Resolution(Outcome.FOUND, digest, peers)

    async def _waited_for(self, key: Digest | str, failed: tuple[str, ...], wait_s: float) -> Resolution:
        digest = _digest(key)
        if digest is None:
            return self._resolution(key, failed)
        self._router.lead(digest, self._node)
        try:
            async with asyncio.timeout(0 if self._router.leads(digest, self._node) else wait_s):
                while not (found := self._resolution(key, failed)).peers:
                    await self._router.changed()
        except TimeoutError:
            return Resolution(Outcome.GO_UPSTREAM)
        return found


class MemoryRouterQueries:
    """The routers as the debug page asks them."""

    def __init__(self, router: MemoryRouter) -> None:
        self._router = router
        self.asked = 0

    async def ping(self) -> None:
        await self._answer()

    async def nodes(self) -> list[ClusterNode]:
        await self._answer()
        digests = self._router.held_by()
        return [
            ClusterNode(
                node=node,
                addresses=addresses,
                zone="",
                in_sync=True,
                stale=False,
                lease_left_s=3.0,
                digests=digests[node],
                tags=0,
            )
            for node, addresses in self._router.nodes.items()
        ]

    async def tags(self, containing: str, most: int) -> ClusterTags:
        await self._answer()
        found = sorted(tag for tag in self._router.tags if containing in tag)
        tags = [ClusterTag(tag, self._router.tags[tag], self._router.tagged_by(tag)) for tag in found[:most]]
        return ClusterTags(tuple(tags), len(found))

    async def holders(self, digests: Sequence[Digest], most: int) -> list[tuple[str, ...]]:
        await self._answer()
        return [tuple(self._router.holders(digest)[:most]) for digest in digests]

    async def _answer(self) -> None:
        self.asked += 1
        await self._router.answer(1.0)


def _digest(key: Digest | str) -> Digest | None:
    """None for the reference of a tag."""
    try:
        return parse_digest(key)
    except InvalidDigest:
        return None
