"""All nodes as the router knows them: each one's copy, lease and incarnation, over one index."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, assert_never

from heliograph_router.domain.departed import Departed
from heliograph_router.domain.doubt import Doubt
from heliograph_router.domain.events import Alive, Changed, Left, Moment, NodeEvent, Snapshot, Tag
from heliograph_router.domain.index import Index
from heliograph_router.domain.lease import Leases
from heliograph_router.domain.replica import Replica

_MAX_AHEAD_MS = 5 * 60_000
_MAX_TAG_AHEAD_MS = 60_000
_MAX_NODES = 65_536


class Refusal(StrEnum):
    """Why a message changed nothing."""

    STALE = "stale"
    AHEAD = "ahead_of_clock"
    REPEATED = "repeated"
    TOO_MANY_NODES = "too_many_nodes"


@dataclass(frozen=True, slots=True)
class NeedSnapshot:
    """The node is to be asked for all it holds; `incarnation` is the highest known of it, 0 for none."""

    node: str
    incarnation: int


class Heard(NamedTuple):
    """What came of a message: refused or not, and whether the node is to be asked for a snapshot."""

    refusal: Refusal | None = None
    need: NeedSnapshot | None = None


_NEWS = Heard()


@dataclass(frozen=True, slots=True)
class Node:
    """A node that lives, for those who ask about it."""

    name: str
    incarnation: int
    sequence: int
    addresses: tuple[str, ...]
    zone: str
    in_sync: bool
    lease_left_s: float
    stale: bool
    digests: int
    tags: int


@dataclass(frozen=True, slots=True)
class Totals:
    """`pairs` are (digest, node); `digests` and `tags` are distinct ones.

    `left` and `lost` are how often nodes went since the start, on purpose and because their lease ended.
    """

    nodes: int
    nodes_in_sync: int
    nodes_stale: int
    digests: int
    pairs: int
    tags: int
    left: int
    lost: int


class Cluster:
    def __init__(self, lease_s: float) -> None:
        self.index = Index()
        self.leases = Leases(lease_s)
        self._replicas: dict[str, Replica] = {}
        self._out_of_sync: set[str] = set()
        self._departed = Departed()
        self._doubt = Doubt()
        self._left = self._lost = 0

    def hear(self, event: NodeEvent, at: Moment) -> Heard:
        """Take note of what a node says of itself."""
        if event.incarnation // 1_000_000 > at.unix_ms + _MAX_AHEAD_MS:
            return Heard(Refusal.AHEAD)
        if not self._is_current(event):
            return Heard(Refusal.STALE, self._notice_to(event))
        if isinstance(event, Left):
            self._depart(event.node, event.incarnation, at, on_purpose=True)
            return Heard()
        replica = self._replicas.get(event.node)
        if replica is None:
            if len(self._replicas) >= _MAX_NODES:
                return Heard(Refusal.TOO_MANY_NODES)
            replica = self._replicas[event.node] = Replica(event.node, self.index)
            self._departed.forget(event.node)
        self.leases.renew(event.node, at)
        news = self._tell(replica, event, at)
        if self._note_sync(replica) and news:
            return _NEWS
        return Heard(None if news else Refusal.REPEATED, self.need_of(event.node, at))

    def need_of(self, node: str, at: Moment) -> NeedSnapshot | None:
        """Whether a node has to be asked for a snapshot now."""
        replica = self._replicas.get(node)
        if replica is None or not replica.needs_snapshot(at.monotonic_s):
            return None
        return NeedSnapshot(node, replica.incarnation)

    def needs(self, at: Moment) -> list[NeedSnapshot]:
        """Every node that has to be asked for a snapshot now."""
        return [need for node in self._out_of_sync if (need := self.need_of(node, at))]

    def expire(self, at: Moment) -> list[str]:
        """Withdraw the nodes whose lease is over, and name them; of very many at once see `Doubt`."""
        self._departed.forget_old(at)
        expired = self._doubt.let_go(
            self.leases.expired(at),
            silent=self.leases.silent(at),
            nodes=len(self._replicas),
            now_s=at.monotonic_s,
        )
        for node in expired:
            self._depart(node, self._replicas[node].incarnation, at, on_purpose=False)
        return expired

    def replica(self, node: str) -> Replica:
        """Of a node that lives, such as a holder in the index."""
        return self._replicas[node]

    def knows(self, node: str) -> bool:
        """Whether the node lives."""
        return node in self._replicas

    def nodes(self, at: Moment) -> Iterator[Node]:
        for name, replica in self._replicas.items():
            digests, tags = self.index.count_of(name)
            yield Node(
                name=name,
                incarnation=replica.incarnation,
                sequence=replica.sequence,
                addresses=replica.addresses,
                zone=replica.zone,
                in_sync=replica.in_sync,
                lease_left_s=self.leases.left_s(name, at),
                stale=name in self._doubt.stale,
                digests=digests,
                tags=tags,
            )

    @property
    def stale(self) -> Collection[str]:
        """Nodes that may be lost, and are not withdrawn only because very many fell silent with them."""
        return self._doubt.stale

    @property
    def totals(self) -> Totals:
        nodes, index = len(self._replicas), self.index
        return Totals(
            nodes=nodes,
            nodes_in_sync=nodes - len(self._out_of_sync),
            nodes_stale=len(self._doubt.stale),
            digests=index.digests,
            pairs=index.pairs,
            tags=index.tags,
            left=self._left,
            lost=self._lost,
        )

    def _is_current(self, event: NodeEvent) -> bool:
        replica = self._replicas.get(event.node)
        if replica is not None:
            return event.incarnation >= replica.incarnation
        return self._departed.admits(event.node, event.incarnation)

    def _notice_to(self, stale: NodeEvent) -> NeedSnapshot | None:
        """A node whose clock was set back learns from the question which incarnation it has to outbid."""
        if not isinstance(stale, Changed | Alive):
            return None
        replica = self._replicas.get(stale.node)
        known = replica.incarnation if replica else self._departed.incarnation_of(stale.node)
        return NeedSnapshot(stale.node, known)

    def _tell(self, replica: Replica, event: Changed | Alive | Snapshot, at: Moment) -> bool:
        match event:
            case Changed(tagged=tags):
                if tags:
                    event = event._replace(tagged=_clamped(tags, at))
                return replica.changed(event, at.monotonic_s)
            case Alive():
                replica.alive(event, at.monotonic_s)
                return True
            case Snapshot(tags=tags):
                return replica.replaced(replace(event, tags=_clamped(tags, at)), at.monotonic_s)
            case _:
                assert_never(event)

    def _note_sync(self, replica: Replica) -> bool:
        in_sync = replica.in_sync
        if in_sync:
            self._out_of_sync.discard(replica.node)
        else:
            self._out_of_sync.add(replica.node)
        return in_sync

    def _depart(self, node: str, incarnation: int, at: Moment, *, on_purpose: bool) -> None:
        if self._replicas.pop(node, None) is not None:
            self._left += on_purpose
            self._lost += not on_purpose
        self._out_of_sync.discard(node)
        self.leases.end(node)
        self.index.remove(node)
        self._departed.remember(node, incarnation, at, on_purpose=on_purpose)


def _clamped(tags: Mapping[str, Tag], at: Moment) -> dict[str, Tag]:
    """A clock that is far ahead must not make its tag the newest for good."""
    latest = at.unix_ms + _MAX_TAG_AHEAD_MS
    return {
        reference: Tag(tag.digest, latest) if tag.tagged_at_ms > latest else tag
        for reference, tag in tags.items()
    }
