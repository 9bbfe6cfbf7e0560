"""The router: hears what nodes say, keeps the index equal to it, and answers who has what.

Everything that touches the index runs on one event loop and never waits in the middle, so there are no
locks. Beside the messages that come in, one coroutine keeps watch: it ends leases, but only after a message
of its own has come back over the bus quickly, because then all that nodes sent before has been heard; a
router that is cut off, stalled or swamped ends none.
"""

import asyncio
import time
from collections.abc import Iterator

import structlog

from heliograph_router.catalogue import Listing, list_tags
from heliograph_router.domain.cluster import Cluster, NeedSnapshot, Node, Refusal, Totals
from heliograph_router.domain.events import Alive, Changed, Left, Moment, NodeEvent, Snapshot
from heliograph_router.domain.index import Below
from heliograph_router.domain.readiness import Readiness
from heliograph_router.domain.resolution import ByDigest, Directory, Query, Resolution, Status
from heliograph_router.domain.selection import Selector
from heliograph_router.domain.waiting import Turn
from heliograph_router.parking import OnParked, Parking
from heliograph_router.ports import Link, Snapshots
from heliograph_router.resync import Resync
from heliograph_shared.digest import Digest

log = structlog.get_logger()

_WATCH_S = 0.25
_PROMPT_S = 0.5
_FADE_S = 10.0
_NAMED_IN_LOG = 10


class Router:
    def __init__(
        self, *, lease_s: float, leaders: int, snapshots: Snapshots, link: Link, below: Below
    ) -> None:
        self._link = link
        self._cluster = Cluster(lease_s)
        self._selector = Selector(below)
        self._directory = Directory(self._cluster, self._selector, below)
        self._readiness = Readiness(lease_s)
        self._parking = Parking(self._cluster.index, leaders=leaders, lease_s=lease_s / 2)
        self._resync = Resync(snapshots, on_snapshot=self._take_snapshot, still_needed=self._still_needed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._resync.run())
            group.create_task(self._keep_watch())
            group.create_task(self._fade())
            group.create_task(self._sweep())

    def heard(self, event: NodeEvent) -> Refusal | None:
        """Take note of what a node says; why it changed nothing, if so."""
        at = _now()
        heard = self._cluster.hear(event, at)
        if heard.need is not None:
            self._resync.want(heard.need)
        if heard.refusal is None:
            self._advance_waits(event, at.monotonic_s)
        return heard.refusal

    def hello_sent(self) -> None:
        """Nodes have been asked to speak up, now that they can be heard."""
        self._readiness.hello_sent(time.monotonic())

    def link_lost(self) -> None:
        """Nobody is heard from now on."""
        self._cluster.leases.link_lost()

    def resolve(self, query: Query) -> list[Resolution]:
        """One answer for each key, in order."""
        return self._directory.resolve(query, time.monotonic(), complete=self._readiness.reason is None)

    async def resolve_or_wait(self, query: Query, wait_s: float, on_parked: OnParked) -> list[Resolution]:
        """As `resolve`; but a query for one digest that nobody holds yet may wait, or be told to go upstream.

        `on_parked` is awaited when it has to wait. Raises `Stopping`.
        """
        digest = self._waited_for(query)
        if digest is None:
            return self.resolve(query)
        turn = await self._parking.turn(digest, query.node, wait_s, on_parked)
        if turn is not Turn.UPSTREAM:
            (found,) = self.resolve(query)
            if found.peers:
                return [found]
        return [Resolution(Status.GO_UPSTREAM)]

    def stop_waiting(self) -> None:
        self._parking.stop()

    def parked(self) -> int:
        return len(self._parking)

    def leases_frozen(self) -> bool:
        """Whether nodes are kept however long they are silent, since they might not be heard."""
        return self._cluster.leases.frozen(_now())

    def nodes(self) -> Iterator[Node]:
        return self._cluster.nodes(_now())

    def totals(self) -> Totals:
        return self._cluster.totals

    async def tags(self, containing: str, most: int) -> Listing:
        """The first `most` tags of the cluster that contain the text."""
        return await list_tags(self._cluster.index, containing, most)

    def unready_reason(self) -> str | None:
        """None once what is not found may be said to be nowhere."""
        return self._readiness.reason

    def _waited_for(self, query: Query) -> Digest | None:
        """A node that does not live could neither announce its copy nor renew its lease."""
        match query.keys:
            case [ByDigest(digest=digest)] if self._readiness.reason is None and self._cluster.knows(
                query.node
            ):
                return digest
        return None

    def _advance_waits(self, event: NodeEvent, now_s: float) -> None:
        waiting = self._parking.waiting
        match event:
            case Changed(added=gained) | Snapshot(content=gained):
                waiting.changed(gained.keys(), now_s)
            case Alive(downloading=digests):
                waiting.downloading(event.node, digests, now_s)
            case Left():
                log.info("node left", node=event.node)
                waiting.gone(event.node, now_s)

    async def _keep_watch(self) -> None:
        while True:
            took_s = await self._link.round_trip()
            at = _now()
            if took_s is None:
                self._cluster.leases.link_lost()
            elif took_s < _PROMPT_S:
                self._cluster.leases.link_works(at)
                self._expire(at)
            for need in self._cluster.needs(at):
                self._resync.want(need)
            self._review_readiness(at)
            self._parking.waiting.review(at.monotonic_s)
            await asyncio.sleep(_WATCH_S)

    def _expire(self, at: Moment) -> None:
        stale = len(self._cluster.stale)
        if lost := self._cluster.expire(at):
            log.warning("nodes lost, their leases ended", count=len(lost), nodes=lost[:_NAMED_IN_LOG])
        for node in lost:
            self._parking.waiting.gone(node, at.monotonic_s)
        if not stale and (held := self._cluster.stale):
            log.warning("very many nodes fell silent at once, they are kept for a while", count=len(held))

    def _review_readiness(self, at: Moment) -> None:
        before = self._readiness.reason
        totals = self.totals()
        self._readiness.review(at.monotonic_s, nodes=totals.nodes, in_sync=totals.nodes_in_sync)
        if before is not None and self._readiness.reason is None:
            log.info("ready", nodes=totals.nodes, nodes_in_sync=totals.nodes_in_sync, digests=totals.digests)

    def _take_snapshot(self, snapshot: Snapshot) -> None:
        if refusal := self.heard(snapshot):
            log.debug("snapshot not used", node=snapshot.node, reason=refusal)

    def _still_needed(self, node: str) -> NeedSnapshot | None:
        return self._cluster.need_of(node, _now())

    async def _sweep(self) -> None:
        """Clear up behind nodes that are gone, one at a time, so that many at once delay no answer."""
        while True:
            swept = self._cluster.index.sweep()
            await asyncio.sleep(0 if swept else _WATCH_S)

    async def _fade(self) -> None:
        while True:
            await asyncio.sleep(_FADE_S)
            self._selector.fade()


def _now() -> Moment:
    return Moment(time.monotonic(), time.time_ns() // 1_000_000)
