"""The router's use cases: apply what nodes publish to the index, and answer which nodes hold what.

Everything that touches the index runs on one event loop and never awaits in the middle, so there are no
locks. Besides handling messages, one coroutine (`_watch`) expires leases, but only after a message to
ourselves has come back over the bus quickly: then everything that nodes published before has been handled. So
a router that is cut off, stalled or overloaded expires no lease.
"""

import asyncio
import time
from collections.abc import Iterator

import structlog

from heliograph_router.catalogue import Listing, list_tags
from heliograph_router.domain.cluster import Cluster, LiveNode, NeedSnapshot, Refusal, Totals
from heliograph_router.domain.events import Alive, Changed, Left, Moment, NodeEvent, ReceivedSnapshot
from heliograph_router.domain.index import RandomBelow
from heliograph_router.domain.readiness import Readiness
from heliograph_router.domain.resolution import ByDigest, KeyAnswer, KeyResolver, Query, Status
from heliograph_router.domain.selection import Selector
from heliograph_router.domain.waiting import Turn
from heliograph_router.parking import OnParked, Parking
from heliograph_router.ports import BusLink, Snapshots
from heliograph_router.resync import Resync
from heliograph_shared.digest import Digest

log = structlog.get_logger()

_WATCH_S = 0.25
_PROMPT_S = 0.5
_DECAY_S = 10.0
_MAX_NAMES_IN_LOG = 10


class RouterService:
    def __init__(
        self, *, lease_s: float, leaders: int, snapshots: Snapshots, link: BusLink, random_below: RandomBelow
    ) -> None:
        self._link = link
        self._cluster = Cluster(lease_s)
        self._selector = Selector(random_below)
        self._key_resolver = KeyResolver(self._cluster, self._selector, random_below)
        self._readiness = Readiness(lease_s)
        self._parking = Parking(self._cluster.index, leaders=leaders, lease_s=lease_s / 2)
        self._shared_names: frozenset[str] = frozenset()
        self._resync = Resync(snapshots, on_snapshot=self._on_snapshot, still_needed=self._still_needed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._resync.run())
            group.create_task(self._watch())
            group.create_task(self._decay())
            group.create_task(self._sweep())

    def handle(self, event: NodeEvent) -> Refusal | None:
        """Apply what a node published; returns why it changed nothing, if so."""
        at = _now()
        result = self._cluster.apply(event, at)
        if result.need is not None:
            self._resync.request(result.need)
        if result.refusal is None:
            self._advance_waits(event, at.monotonic_s)
        return result.refusal

    def hello_sent(self) -> None:
        """The router is subscribed, and has asked all nodes for a heartbeat."""
        self._readiness.hello_sent(time.monotonic())

    def link_lost(self) -> None:
        """The connection to the bus is lost: no node can be heard from now on."""
        self._readiness.link_lost()
        self._no_node_heard()

    def resolve(self, query: Query) -> list[KeyAnswer]:
        """One answer for each key, in order."""
        return self._key_resolver.resolve(query, time.monotonic(), complete=self.is_current())

    async def resolve_or_wait(self, query: Query, wait_s: float, on_parked: OnParked) -> list[KeyAnswer]:
        """Like `resolve`; but a live node's query for a single digest that nobody holds yet may wait.

        The answer then comes when a holder can serve the node, or tells it to go upstream. `on_parked` is
        awaited when the call has to wait. Raises `WaitAbandoned`.
        """
        digest = self._digest_to_wait_for(query)
        if digest is None:
            return self.resolve(query)
        turn = await self._parking.turn(digest, query.node, wait_s, on_parked)
        if turn is not Turn.UPSTREAM:
            (found,) = self.resolve(query)
            if found.holders:
                return [found]
        return [KeyAnswer(Status.GO_UPSTREAM)]

    def stop_waiting(self) -> None:
        self._parking.stop()

    def parked(self) -> int:
        return len(self._parking)

    def shared_names(self) -> int:
        """How many node names two indexers use at the same time."""
        return len(self._shared_names)

    def leases_frozen(self) -> bool:
        """True while no lease expires, because the router may not hear the nodes."""
        return self._cluster.leases.frozen(_now())

    def nodes(self) -> Iterator[LiveNode]:
        return self._cluster.nodes(_now())

    def totals(self) -> Totals:
        return self._cluster.totals

    async def tags(self, containing: str, most: int) -> Listing:
        """The first `most` tags of the cluster whose reference contains the text."""
        return await list_tags(self._cluster.index, containing, most)

    def unready_reason(self) -> str | None:
        """None once a miss has been authoritative."""
        return self._readiness.reason

    def is_current(self) -> bool:
        """Whether a miss is authoritative now: the nodes can be heard, and their content is known."""
        return self._readiness.is_current(time.monotonic())

    def _digest_to_wait_for(self, query: Query) -> Digest | None:
        """The digest, if the query may wait for it: one digest, asked for by a live node of a current router.

        Any other requester could neither announce its copy nor renew its lease.
        """
        match query.keys:
            case [ByDigest(digest=digest)] if self.is_current() and self._cluster.knows(query.node):
                return digest
        return None

    def _advance_waits(self, event: NodeEvent, now_s: float) -> None:
        waiting = self._parking.waiting
        match event:
            case Changed(added=gained) | ReceivedSnapshot(content=gained):
                waiting.changed(gained.keys(), now_s)
            case Alive(downloading=digests):
                waiting.downloading(event.node, digests, now_s)
            case Left():
                log.info("node left", node=event.node)
                waiting.gone(event.node, now_s)

    async def _watch(self) -> None:
        while True:
            took_s = await self._link.round_trip()
            at = _now()
            if took_s is None:
                self._no_node_heard()
            else:
                self._readiness.heard(at.monotonic_s - took_s)
                if took_s < _PROMPT_S:
                    self._cluster.leases.link_works(at)
                    self._expire(at)
            for need in self._cluster.needs(at):
                self._resync.request(need)
            self._review_readiness(at)
            self._review_names(at)
            self._parking.waiting.review(at.monotonic_s)
            await asyncio.sleep(_WATCH_S)

    def _no_node_heard(self) -> None:
        """Expire no lease, and send those who wait for nodes' announcements to another router."""
        self._cluster.leases.link_lost()
        self._parking.abandon("no message from the bus")

    def _expire(self, at: Moment) -> None:
        had_stale = bool(self._cluster.stale)
        if lost := self._cluster.expire(at):
            log.warning("nodes lost, their leases expired", count=len(lost), nodes=lost[:_MAX_NAMES_IN_LOG])
        for node in lost:
            self._parking.waiting.gone(node, at.monotonic_s)
        if not had_stale and (stale := self._cluster.stale):
            log.warning("very many nodes fell silent at once, keeping them for a while", count=len(stale))

    def _review_readiness(self, at: Moment) -> None:
        before = self._readiness.reason
        totals = self.totals()
        self._readiness.review(at.monotonic_s, nodes=totals.nodes, in_sync=totals.nodes_in_sync)
        if before is not None and self._readiness.reason is None:
            log.info("ready", nodes=totals.nodes, nodes_in_sync=totals.nodes_in_sync, digests=totals.digests)

    def _review_names(self, at: Moment) -> None:
        shared = frozenset(self._cluster.shared_names(at))
        for name in sorted(shared - self._shared_names)[:_MAX_NAMES_IN_LOG]:
            if (need := self._cluster.describe(name, at)) and need.namesake:
                log.warning(
                    "two indexers have the same node name, using only the later one",
                    node=name,
                    used=need.addresses,
                    ignored=need.namesake.addresses,
                )
        self._shared_names = shared

    def _on_snapshot(self, snapshot: ReceivedSnapshot) -> None:
        if refusal := self.handle(snapshot):
            log.debug("snapshot not used", node=snapshot.node, reason=refusal)

    def _still_needed(self, node: str) -> NeedSnapshot | None:
        return self._cluster.need_of(node, _now())

    async def _sweep(self) -> None:
        """Unlink removed nodes, one at a time so that no answer is delayed."""
        while True:
            swept = self._cluster.index.sweep()
            await asyncio.sleep(0 if swept else _WATCH_S)

    async def _decay(self) -> None:
        while True:
            await asyncio.sleep(_DECAY_S)
            self._selector.decay()


def _now() -> Moment:
    return Moment(time.monotonic(), time.time_ns() // 1_000_000)
