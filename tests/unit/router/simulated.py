"""Nodes in miniature, which say of themselves what the contract wants, in the router's own terms."""

from dataclasses import dataclass, field

from heliograph_router.domain.cluster import Cluster
from heliograph_router.domain.events import Alive, Changed, Left, Moment, Snapshot, Tag
from heliograph_router.domain.index import Index
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.inventory import Inventory, RunningInventory

NOW_MS = 1_700_000_000_000
DIGESTS = [digest_of(bytes([number])) for number in range(12)]
REFERENCES = [f"reg.test/app:{number}" for number in range(3)]


def moment(seconds: float) -> Moment:
    return Moment(monotonic_s=1000 + seconds, unix_ms=NOW_MS + int(seconds * 1000))


def inventory_of(content: dict[Digest, int], tags: dict[str, Tag]) -> Inventory:
    running = RunningInventory()
    for digest in content:
        running.add_digest(digest)
    for reference, tag in tags.items():
        running.add_tag(reference, tag.digest)
    return running.freeze()


@dataclass
class SimulatedNode:
    """Everything that it holds is published at once, so `content` and `tags` are what routers should know."""

    name: str
    incarnation: int = NOW_MS * 1_000_000
    sequence: int = 0
    content: dict[Digest, int] = field(default_factory=dict)
    tags: dict[str, Tag] = field(default_factory=dict)
    zone: str = ""
    reachable: bool = True

    @property
    def addresses(self) -> tuple[str, ...]:
        return (f"{self.name}:5000",) if self.reachable else ()

    @property
    def inventory(self) -> Inventory:
        return inventory_of(self.content, self.tags)

    def change(
        self,
        *,
        add: tuple[Digest, ...] = (),
        remove: tuple[Digest, ...] = (),
        tag: dict[str, Tag] | None = None,
        untag: tuple[str, ...] = (),
    ) -> Changed:
        for digest in remove:
            self.content.pop(digest, None)
        for reference in untag:
            self.tags.pop(reference, None)
        self.content.update(dict.fromkeys(add, 100))
        self.tags.update(tag or {})
        self.sequence += 1
        return Changed(
            self.name, self.incarnation, self.sequence, dict.fromkeys(add, 100), remove, tag or {}, untag
        )

    def restart(self, content: dict[Digest, int] | None = None) -> Changed:
        """Come back as a new incarnation; the first delta tells all that it holds."""
        self.incarnation += 1
        self.sequence = 1
        self.content = dict(self.content if content is None else content)
        return Changed(self.name, self.incarnation, 1, dict(self.content), (), dict(self.tags), ())

    def heartbeat(self) -> Alive:
        return Alive(self.name, self.incarnation, self.sequence, self.addresses, self.zone, self.inventory)

    def left(self) -> Left:
        return Left(self.name, self.incarnation)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            self.name,
            self.incarnation,
            self.sequence,
            dict(self.content),
            dict(self.tags),
            self.addresses,
            self.zone,
            self.inventory,
        )


def introduce(cluster: Cluster, node: SimulatedNode, at: Moment) -> None:
    """Bring the cluster's copy of a node to where the node is."""
    cluster.hear(node.heartbeat(), at)
    cluster.hear(node.snapshot(), at)
    assert cluster.need_of(node.name, at) is None


def held_by(index: Index, node: str) -> set[Digest]:
    return {digest for digest in DIGESTS if node in index.holders(digest)}


def assert_consistent(index: Index) -> None:
    """Forward and reverse maps, counts and inventories all tell the same."""
    forward = {(node, digest) for digest, blob in index._blobs.items() for node in blob.nodes}
    backward = {(node, digest) for node, row in index._rows.items() for digest in row.digests}
    assert forward == backward
    assert index.pairs == len(forward)
    assert all(blob.nodes for blob in index._blobs.values())
    claimed = {(node, ref, tag) for ref, claims in index._claims.items() for node, tag in claims.items()}
    stated = {(node, ref, tag) for node, row in index._rows.items() for ref, tag in row.tags.items()}
    assert claimed == stated
    assert all(index._claims.values())
    assert index._winners.keys() <= index._claims.keys()
    for node, row in index._rows.items():
        assert index.inventory(node) == inventory_of(dict.fromkeys(row.digests, 0), row.tags)
