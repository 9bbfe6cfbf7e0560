"""The mirror of one node, with every port in memory, in a cluster of other nodes."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from heliograph_registry.mirror.blobs import BlobAnswer, Blobs, open_blobs
from heliograph_registry.mirror.completeness import Completeness
from heliograph_registry.mirror.domain.target import Blob, Name
from heliograph_registry.mirror.domain.throughput import Throughput
from heliograph_registry.mirror.local_content import LocalContent
from heliograph_registry.mirror.lookahead import Lookahead, open_lookahead
from heliograph_registry.mirror.manifests import Manifests
from heliograph_registry.mirror.mirror import Mirror
from heliograph_registry.mirror.peering import Peering
from heliograph_registry.mirror.waiting import WaitingRequests
from heliograph_shared.digest import Digest
from heliograph_shared.filters import ImageFilter
from heliograph_shared.platforms import Matcher, parse_platform
from tests.support.fakes.content import MemoryContent
from tests.support.fakes.node import MemoryFacts
from tests.support.fakes.outlet import MemoryOutlet
from tests.support.fakes.peers import MemoryPeer, MemoryPeers
from tests.support.fakes.router import MemoryResolver, MemoryRouter, MemoryRouterQueries
from tests.support.fakes.spool import MemorySpool

HERE = "here"
NAME = Name("reg.test", "app")
FIRST_BYTE_S = 0.3


@dataclass
class FakeCluster:
    """The ports of the node `here`, and the other nodes; `fetched` is how many bytes came from whom."""

    router: MemoryRouter = field(default_factory=MemoryRouter)
    content: MemoryContent = field(default_factory=MemoryContent)
    facts: MemoryFacts = field(default_factory=MemoryFacts)
    spool: MemorySpool = field(default_factory=MemorySpool)
    peers: MemoryPeers = field(default_factory=MemoryPeers)
    fetched: Counter[str] = field(default_factory=Counter)
    throughput: Throughput = field(default_factory=Throughput)

    def __post_init__(self) -> None:
        self.resolver = MemoryResolver(self.router, HERE)
        self.local = LocalContent(self.content)
        self.peers.slow_below = self.throughput.slow_below
        self.router_queries = MemoryRouterQueries(self.router)
        self.facts.addresses = frozenset({f"{HERE}:5000"})
        self.router.add_node(HERE, f"{HERE}:5000")

    def node(self, name: str, *blobs: bytes) -> MemoryPeer:
        """Another node whose registry holds the blobs, as the router knows."""
        registry = self.peers.add(MemoryPeer(name, f"{name}:5000"))
        self.router.add_node(name, registry.address)
        for data in blobs:
            self.announce(registry, data)
        return registry

    def announce(
        self, registry: MemoryPeer, data: bytes, tag: str | None = None, *, size_known: bool = True
    ) -> Digest:
        """The node gets the blob, and its indexer tells the routers."""
        digest = registry.put(data)
        self.router.holds(registry.node, digest, len(data) if size_known else 0, tag)
        if tag is not None:
            registry.tags[tag] = digest
        return digest

    def peering(self, *, attempts: int = 3, resolve_timeout_s: float = 0.2) -> Peering:
        return Peering(
            node=HERE,
            facts=self.facts,
            resolver=self.resolver,
            peers=self.peers,
            attempts=attempts,
            resolve_timeout_s=resolve_timeout_s,
            throughput=self.throughput,
            fetched=lambda node, size_bytes: self.fetched.update({node: size_bytes}),
        )

    @asynccontextmanager
    async def mirror(
        self,
        *,
        attempts: int = 3,
        wait_s: float = 0,
        transfers: int = 4,
        images: ImageFilter | None = None,
        platform: str = "linux/amd64",
    ) -> AsyncIterator["FakeMirror"]:
        peering = self.peering(attempts=attempts)
        waiting = WaitingRequests(peering, wait_s=wait_s, first_byte_s=FIRST_BYTE_S)
        async with (
            open_lookahead(peering.resolve, self.local.lacks) as lookahead,
            open_blobs(
                self.local,
                peering,
                lookahead,
                self.spool,
                waiting,
                first_byte_s=FIRST_BYTE_S,
                transfers=transfers,
            ) as blobs,
        ):
            manifests = Manifests(self.local, peering, lookahead)
            node = Matcher(parse_platform(platform))
            mirror = Mirror(
                facts=self.facts,
                peering=peering,
                blobs=blobs,
                lookahead=lookahead,
                manifests=manifests,
                completeness=Completeness(node, self.local, peering, lookahead, manifests),
                waiting=waiting,
                images=images or ImageFilter(),
                first_byte_s=FIRST_BYTE_S,
            )
            yield FakeMirror(mirror, blobs, peering, lookahead)

    def leaks(self) -> Sequence[str]:
        """What is still open or reserved though no answer is."""
        left = {
            "streams": self.peers.open_streams,
            "blobs": self.content.open_blobs,
            "spooled bytes": self.spool.held_bytes,
        }
        return [name for name, count in left.items() if count]


@dataclass(frozen=True, slots=True)
class FakeMirror:
    """The use cases themselves, nothing of them faked."""

    mirror: Mirror
    blobs: Blobs
    peering: Peering
    lookahead: Lookahead


async def delivered(answer: BlobAnswer) -> bytes:
    """Send the answer's body to a client, and close the answer. Raises what `deliver` raises."""
    outlet = MemoryOutlet()
    try:
        assert answer.body is not None
        await answer.body.deliver(outlet)
    finally:
        answer.close()
    return bytes(outlet.received)


def blob(digest: Digest) -> Blob:
    return Blob(NAME, digest)
