"""Simulated nodes that produce the events of bus contract v1, in the router's own types."""

from dataclasses import dataclass, field

from heliograph_router.domain.cluster import Cluster
from heliograph_router.domain.events import Alive, Changed, Left, Moment, ReceivedSnapshot, TagClaim
from heliograph_router.domain.index import Index
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.inventory import Inventory, RunningInventory

NOW_MS = 1_700_000_000_000
DIGESTS = [digest_of(bytes([number])) for number in range(12)]
REFERENCES = [f"reg.test/app:{number}" for number in range(3)]


def moment(seconds: float) -> Moment:
    return Moment(monotonic_s=1000 + seconds, unix_ms=NOW_MS + int(seconds * 1000))


def inventory_of(content: dict[Digest, int], tags: dict[str, TagClaim]) -> Inventory:
    running = RunningInventory()
    for digest in content:
        running.add_digest(digest)
    for reference, tag in tags.items():
        running.add_tag(reference, tag.digest)
    return running.freeze()


@dataclass
class SimulatedNode:
    """Publishes every change at once, so `content` and `tags` are what a router should know."""

    name: str
    incarnation: int = NOW_MS * 1_000_000
    sequence: int = 0
    content: dict[Digest, int] = field(default_factory=dict)
    tags: dict[str, TagClaim] = field(default_factory=dict)
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
        tag: dict[str, TagClaim] | None = None,
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
        """Start a new incarnation, whose first delta lists everything the node holds."""
        self.incarnation += 1
        self.sequence = 1
        self.content = dict(self.content if content is None else content)
        return Changed(self.name, self.incarnation, 1, dict(self.content), (), dict(self.tags), ())

    def heartbeat(self, downloading: tuple[Digest, ...] = ()) -> Alive:
        return Alive(
            self.name,
            self.incarnation,
            self.sequence,
            self.addresses,
            self.zone,
            self.inventory,
            downloading,
        )

    def left(self) -> Left:
        return Left(self.name, self.incarnation)

    def snapshot(self) -> ReceivedSnapshot:
        return ReceivedSnapshot(
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
    """Bring the cluster's copy of a node in sync with it."""
    cluster.apply(node.heartbeat(), at)
    cluster.apply(node.snapshot(), at)
    assert cluster.need_of(node.name, at) is None


def digests_of(index: Index, node: str) -> set[Digest]:
    return {digest for digest in DIGESTS if node in index.holders(digest)}


def assert_consistent(index: Index) -> None:
    """Forward and reverse maps, counts and inventories agree, before and after the sweep."""
    postings = index._postings
    forward = {(slot, n) for n in postings.numbers.values() for slot in postings.slots(n)}
    backward = {(slot, number) for slot, row in enumerate(index._rows) for number in row.digest_numbers}
    assert forward == backward
    live = {slot for slot, row in enumerate(index._rows) if not row.gone}
    assert live == set(index._slots.values())
    assert index.pairs == len([slot for slot, _ in forward if slot in live])
    for digest, number in postings.numbers.items():
        assert postings.digest(number) == digest
        assert list(postings.slots(number)) == sorted(set(postings.slots(number))) != []
    assert len(set(postings.numbers.values())) == len(postings.numbers)
    claimed = {
        (slot, ref, tag) for ref, claims in index._claims._claims.items() for slot, tag in claims.items()
    }
    stated = {(slot, ref, tag) for slot, row in enumerate(index._rows) for ref, tag in row.tags.items()}
    assert claimed == stated
    for node, slot in index._slots.items():
        row = index._rows[slot]
        digests = {postings.digest(number): 0 for number in row.digest_numbers}
        assert index.inventory(node) == inventory_of(digests, row.tags)
