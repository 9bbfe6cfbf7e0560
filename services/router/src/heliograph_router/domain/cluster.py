"""All nodes as the router knows them: the copy, lease and incarnation of each, over one index."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, assert_never

from heliograph_router.domain.events import (
    Alive,
    Changed,
    Left,
    Moment,
    NodeEvent,
    ReceivedSnapshot,
    TagClaim,
)
from heliograph_router.domain.index import Index
from heliograph_router.domain.lease import Leases
from heliograph_router.domain.mass_silence import MassSilence
from heliograph_router.domain.namesakes import Namesake, Namesakes
from heliograph_router.domain.replica import Replica
from heliograph_router.domain.tombstones import Tombstones
from heliograph_shared.events import MAX_INCARNATION_AHEAD_MS

_MAX_TAG_AHEAD_MS = 60_000
_MAX_NODES = 65_536


class Refusal(StrEnum):
    """Why a message changed nothing. The values are labels of a metric.

    `STALE` is of an incarnation that is over, `AHEAD` of one that starts in the future.
    """

    STALE = "stale"
    AHEAD = "ahead_of_clock"
    REPEATED = "repeated"
    TOO_MANY_NODES = "too_many_nodes"


@dataclass(frozen=True, slots=True)
class NeedSnapshot:
    """Ask `node` for a snapshot; `incarnation` is the highest one known of it, 0 if none is.

    `addresses` are those of that incarnation. `namesake` is a second indexer with the node's name.
    """

    node: str
    incarnation: int
    addresses: tuple[str, ...] = ()
    namesake: Namesake | None = None


class EventResult(NamedTuple):
    """Why the event was refused, if it was, and whether the node has to be asked for a snapshot."""

    refusal: Refusal | None = None
    need: NeedSnapshot | None = None


_APPLIED = EventResult()


@dataclass(frozen=True, slots=True)
class LiveNode:
    """The state of a live node, for `ListNodes`."""

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
    namesake: Namesake | None


@dataclass(frozen=True, slots=True)
class Totals:
    """`pairs` counts (digest, node) pairs; `digests` and `tags` count distinct ones.

    `left` and `lost` count since the start: nodes that left on purpose, and nodes whose lease expired.
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
        self._tombstones = Tombstones()
        self._mass_silence = MassSilence()
        self._namesakes = Namesakes(lease_s)
        self._left = self._lost = 0

    def apply(self, event: NodeEvent, at: Moment) -> EventResult:
        """Renew the node's lease and update its copy, unless the event is refused."""
        if event.incarnation // 1_000_000 > at.unix_ms + MAX_INCARNATION_AHEAD_MS:
            return EventResult(Refusal.AHEAD)
        if not self._is_current(event) and not self._takes_over(event, at):
            return EventResult(Refusal.STALE, self._need_after_stale(event, at))
        if isinstance(event, Left):
            self._remove(event.node, event.incarnation, at, on_purpose=True)
            return _APPLIED
        replica = self._replicas.get(event.node)
        if replica is None:
            if len(self._replicas) >= _MAX_NODES:
                return EventResult(Refusal.TOO_MANY_NODES)
            replica = self._replicas[event.node] = Replica(event.node, self.index)
            self._tombstones.remove(event.node)
        self.leases.renew(event.node, at)
        is_new = self._apply(replica, event, at)
        if self._track_sync(replica) and is_new:
            return _APPLIED
        return EventResult(None if is_new else Refusal.REPEATED, self.need_of(event.node, at))

    def need_of(self, node: str, at: Moment) -> NeedSnapshot | None:
        """What to ask the node for, if it has to be asked for a snapshot now."""
        replica = self._replicas.get(node)
        if replica is None or not replica.needs_snapshot(at.monotonic_s):
            return None
        return self._need(replica, at)

    def needs(self, at: Moment) -> list[NeedSnapshot]:
        """All nodes that have to be asked for a snapshot now."""
        return [need for node in self._out_of_sync if (need := self.need_of(node, at))]

    def expire(self, at: Moment) -> list[str]:
        """Remove the nodes whose lease has expired, and return their names.

        When very many fall silent at once, `MassSilence` keeps them for a while.
        """
        self._tombstones.drop_old(at)
        lost = self._mass_silence.lost(
            self.leases.expired(at),
            silent=self.leases.silent(at),
            nodes=len(self._replicas),
            now_s=at.monotonic_s,
        )
        for node in lost:
            self._remove(node, self._replicas[node].incarnation, at, on_purpose=False)
        return lost

    def replica(self, node: str) -> Replica:
        """The copy of a live node, such as a holder in the index."""
        return self._replicas[node]

    def knows(self, node: str) -> bool:
        """True if the node is live."""
        return node in self._replicas

    def nodes(self, at: Moment) -> Iterator[LiveNode]:
        for name, replica in self._replicas.items():
            digests, tags = self.index.count_of(name)
            yield LiveNode(
                name=name,
                incarnation=replica.incarnation,
                sequence=replica.sequence,
                addresses=replica.addresses,
                zone=replica.zone,
                in_sync=replica.in_sync,
                lease_left_s=self.leases.left_s(name, at),
                stale=name in self._mass_silence.stale,
                digests=digests,
                tags=tags,
                namesake=self._namesakes.of(name, at.monotonic_s),
            )

    def describe(self, node: str, at: Moment) -> NeedSnapshot | None:
        """What a request for a snapshot would tell the node; None if it is not live."""
        replica = self._replicas.get(node)
        return None if replica is None else self._need(replica, at)

    def shared_names(self, at: Moment) -> list[str]:
        """Names that two indexers use at the same time."""
        return self._namesakes.nodes(at.monotonic_s)

    @property
    def stale(self) -> Collection[str]:
        """Nodes that are kept although their lease has expired, because very many fell silent with them."""
        return self._mass_silence.stale

    @property
    def totals(self) -> Totals:
        nodes, index = len(self._replicas), self.index
        return Totals(
            nodes=nodes,
            nodes_in_sync=nodes - len(self._out_of_sync),
            nodes_stale=len(self._mass_silence.stale),
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
        return isinstance(event, Alive) or self._tombstones.admits(event.node, event.incarnation)

    def _takes_over(self, stale: NodeEvent, at: Moment) -> bool:
        """Whether the sender of a stale heartbeat gets the name, because the other indexer is silent."""
        if not isinstance(stale, Alive) or stale.node not in self._replicas:
            return False
        now_s = at.monotonic_s
        self._namesakes.heard(stale.node, Namesake(stale.incarnation, stale.addresses), now_s)
        if self._namesakes.of(stale.node, now_s) is None or not self.leases.is_silent(stale.node, at):
            return False
        self._remove(stale.node, self._replicas[stale.node].incarnation, at, on_purpose=False)
        return True

    def _need(self, replica: Replica, at: Moment) -> NeedSnapshot:
        namesake = self._namesakes.of(replica.node, at.monotonic_s)
        return NeedSnapshot(replica.node, replica.incarnation, replica.addresses, namesake)

    def _need_after_stale(self, stale: NodeEvent, at: Moment) -> NeedSnapshot | None:
        """Ask a node that sends a stale incarnation.

        If its clock was set back, the request tells it which incarnation it has to exceed. If two indexers
        have its name, the request tells both.
        """
        if not isinstance(stale, Changed | Alive):
            return None
        known = self.describe(stale.node, at)
        return known or NeedSnapshot(stale.node, self._tombstones.incarnation_of(stale.node))

    def _apply(self, replica: Replica, event: Changed | Alive | ReceivedSnapshot, at: Moment) -> bool:
        match event:
            case Changed(tagged=tags):
                if tags:
                    event = event._replace(tagged=_clamped(tags, at))
                return replica.apply_delta(event, at.monotonic_s)
            case Alive():
                replica.apply_heartbeat(event, at.monotonic_s)
                return True
            case ReceivedSnapshot(tags=tags):
                return replica.apply_snapshot(replace(event, tags=_clamped(tags, at)), at.monotonic_s)
            case _:
                assert_never(event)

    def _track_sync(self, replica: Replica) -> bool:
        in_sync = replica.in_sync
        if in_sync:
            self._out_of_sync.discard(replica.node)
        else:
            self._out_of_sync.add(replica.node)
        return in_sync

    def _remove(self, node: str, incarnation: int, at: Moment, *, on_purpose: bool) -> None:
        if self._replicas.pop(node, None) is not None:
            self._left += on_purpose
            self._lost += not on_purpose
        self._out_of_sync.discard(node)
        self.leases.end(node)
        self._namesakes.end(node)
        self.index.remove(node)
        self._tombstones.add(node, incarnation, at, on_purpose=on_purpose)


def _clamped(tags: Mapping[str, TagClaim], at: Moment) -> dict[str, TagClaim]:
    """Cap times in the future: else a node whose clock is far ahead would own the tag for a long time."""
    latest = at.unix_ms + _MAX_TAG_AHEAD_MS
    return {
        reference: TagClaim(tag.digest, latest) if tag.tagged_at_ms > latest else tag
        for reference, tag in tags.items()
    }
