"""The indexer: watches the content store, and announces its content to the bus and to the node's registry.

Three coroutines on one loop: one watches the store, one sends what is due on the bus, one writes the state
file; none waits for another. A change is only noted, in the publication and in a due queue, so an outage of
bus, store or file takes no memory and is made up for afterwards. Nothing is announced before the store was
listed once: an empty inventory would withdraw everything that this node announced before a restart.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from enum import Enum, auto

import structlog

from heliograph_indexer.domain.content import StoreContent, StoreEvent, TagRemoved, TagSet
from heliograph_indexer.domain.namesakes import KnownNode, Namesake, Namesakes
from heliograph_indexer.domain.publication import AdvertisedCounts, Publication, PublishedSnapshot
from heliograph_indexer.domain.publish_rate import PublishRate
from heliograph_indexer.due_queue import DueQueue
from heliograph_indexer.errors import PublishFailed, StateUnwritable, StoreUnavailable
from heliograph_indexer.ports import Announcer, ContentStore, NodeStateWriter
from heliograph_shared.digest import Digest
from heliograph_shared.events import MAX_INCARNATION_AHEAD_MS
from heliograph_shared.runtime import backoff

log = structlog.get_logger()

_STATE_WRITES_APART_S = 0.1
_HELLO_JITTER_S = 5.0
_HEARTBEAT_SPREAD = 0.2
_OUTBIDS_FOR_S = 60.0
_NS_PER_MS = 1_000_000

AdmitsTag = Callable[[str], bool]


class _Action(Enum):
    PUBLISH = auto()
    HEARTBEAT = auto()
    WRITE_STATE = auto()


class Indexer:
    """`incarnation` is `time_ns` at start; `admits_tag` says which tag references are announced."""

    def __init__(
        self,
        *,
        store: ContentStore,
        bus: Announcer,
        state_file: NodeStateWriter,
        admits_tag: AdmitsTag,
        incarnation: int,
        heartbeat_s: float,
    ) -> None:
        self._store, self._bus, self._state_file = store, bus, state_file
        self._admits_tag = admits_tag
        self._heartbeat_s = heartbeat_s
        self._publication = Publication(incarnation)
        self._publishing = asyncio.Lock()
        self._namesakes = Namesakes()
        self._rate = PublishRate()
        self._announced_at: float | None = None
        self._noted_s: float | None = None
        self._bus_due = DueQueue[_Action](overflow=_Action.HEARTBEAT)
        self._state_due = DueQueue[_Action](overflow=_Action.WRITE_STATE)
        self._addresses: tuple[str, ...] = ()
        self._listed = self._following = self._leaving = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_store())
            group.create_task(self._send_what_is_due())
            group.create_task(self._write_state_when_due())

    async def leave(self) -> None:
        """Withdraw the node from the bus. Call it after `run` has ended."""
        self._leaving = True
        if self._announced_at is None:
            return
        try:
            await self._bus.left(self._publication.position)
        except PublishFailed as error:
            log.warning("departure not announced, the lease will expire", reason=error.reason)

    def unready_reason(self) -> str | None:
        reasons = []
        if not self._following:
            reasons.append("the content store is not listed")
        if not self._bus.connected:
            reasons.append("the bus is not connected")
        return ", ".join(reasons) or None

    def following(self) -> bool:
        """True while the store is being watched."""
        return self._following

    def advertised(self) -> AdvertisedCounts:
        """What has been announced on the bus so far, counted."""
        return self._publication.advertised(len(self._addresses))

    def advertise(self, addresses: tuple[str, ...]) -> None:
        """From now on, advertise these addresses (`host:port`) of this node's registry; none: unreachable."""
        self._addresses = addresses
        self._bus_due.add(_Action.HEARTBEAT)
        self._state_due.add(_Action.WRITE_STATE)

    def withhold(self, digests: frozenset[Digest]) -> None:
        """From now on announce none of these: this node's registry cannot serve them."""
        held = self._publication.withhold(digests)
        log.info("the registry reported what it cannot serve", blobs=len(digests), withheld=held)
        self._note_change()

    def bus_connected(self) -> None:
        """A heartbeat at once shows routers whether they missed messages sent before."""
        self._bus_due.add(_Action.PUBLISH)
        self._bus_due.add(_Action.HEARTBEAT)

    def router_started(self) -> None:
        """Answer with a heartbeat after a random delay: all nodes hear of the router at the same moment."""
        jitter_s = random.uniform(0, min(_HELLO_JITTER_S, self._heartbeat_s))  # noqa: S311
        self._bus_due.add(_Action.HEARTBEAT, jitter_s)

    def namesake(self) -> Namesake | None:
        """Another indexer with this node's name, if a router told of one within a minute."""
        return self._namesakes.current(time.monotonic())

    @property
    def incarnation(self) -> int:
        return self._publication.position.incarnation

    async def snapshot(self, known: KnownNode) -> PublishedSnapshot | None:
        """Everything published so far, for a router that knows `known` of this node.

        None before the first listing and while the node leaves.

        A known incarnation above ours comes from before the clock was set back, and routers ignore us as
        outdated. In its first minute the indexer outbids it: it takes a higher incarnation and publishes
        everything anew before it answers, so that no router ever sees this node empty. Later it does not:
        the other incarnation may belong to a second indexer with the same node name. Nor does it outbid an
        incarnation that routers refuse because it is too far ahead: they would refuse this indexer, too.
        """
        if not self._listed or self._leaving:
            return None
        async with self._publishing:
            later = known.followed.incarnation
            if later > time.time_ns() + MAX_INCARNATION_AHEAD_MS * _NS_PER_MS:
                log.warning("a router knows an impossible incarnation of this node", known=later)
            elif later > self.incarnation and self._outbids(later):
                self._publication.outbid(later)
                await self._send_pending()
                self._bus_due.add(_Action.HEARTBEAT)
            else:
                self._namesakes.note(known, self.incarnation, time.monotonic())
            return self._publication.snapshot(self._addresses)

    def _outbids(self, later: int) -> bool:
        outbids = time.monotonic() - (self._announced_at or math.inf) < _OUTBIDS_FOR_S
        log.warning(
            "a router knows a later incarnation of this node",
            known=later,
            own=self.incarnation,
            outbids=outbids,
        )
        return outbids

    async def _watch_store(self) -> None:
        delays = backoff()
        while True:
            try:
                async with self._store.watch() as watch:
                    self._apply_listing(watch.content)
                    delays = backoff()
                    async for event in watch.changes():
                        self._apply_event(event)
            except StoreUnavailable as error:
                self._following = False
                delay = next(delays)
                log.warning(
                    "content store unavailable, trying again",
                    store=error.store,
                    reason=error.reason,
                    retry_in_s=round(delay, 1),
                )
                await asyncio.sleep(delay)

    def _apply_listing(self, content: StoreContent) -> None:
        tags = {reference: tag for reference, tag in content.tags.items() if self._admits_tag(reference)}
        log.info("content store listed", blobs=len(content.blobs), tags=len(tags))
        self._publication.replace(StoreContent(content.blobs, tags))
        first, self._listed, self._following = not self._listed, True, True
        self._note_change()
        self._state_due.add(_Action.WRITE_STATE)
        if first:
            self._bus_due.add(_Action.HEARTBEAT)

    def _apply_event(self, event: StoreEvent) -> None:
        if isinstance(event, TagSet | TagRemoved):
            if not self._admits_tag(event.reference):
                return
            self._state_due.add(_Action.WRITE_STATE)
        log.debug("content changed", change=event)
        self._publication.apply(event)
        self._note_change()

    def _note_change(self) -> None:
        """Send the first change after a quiet time at once; later ones wait and share messages."""
        now_s = time.monotonic()
        if self._noted_s is None:
            self._noted_s = now_s
        self._bus_due.add(_Action.PUBLISH, self._rate.wait_s(now_s))

    async def _send_what_is_due(self) -> None:
        while True:
            action = await self._bus_due.next()
            if not self._listed:
                continue  # the first listing makes both actions due
            downloading: Sequence[Digest] = ()
            if action is _Action.HEARTBEAT:
                spread = random.uniform(1 - _HEARTBEAT_SPREAD, 1 + _HEARTBEAT_SPREAD)  # noqa: S311
                self._bus_due.add(_Action.HEARTBEAT, self._heartbeat_s * spread)
                downloading = await self._downloading()
            if not self._bus.connected:
                continue  # reconnecting makes both actions due
            async with self._publishing:
                if action is _Action.PUBLISH:
                    await self._send_pending()
                else:
                    await self._send_heartbeat(downloading)

    async def _send_pending(self) -> None:
        """Call it with the lock held, so that deltas are sent in order."""
        deltas = self._publication.take_deltas()
        noted_s, self._noted_s = self._noted_s, None
        if not deltas:
            return
        self._rate.sent(time.monotonic())
        try:
            for delta in deltas:
                await self._bus.changed(delta, noted_s)
        except PublishFailed as error:
            log.warning("changes not sent, routers will ask for a snapshot", reason=error.reason)
            self._bus_due.add(_Action.HEARTBEAT)

    async def _send_heartbeat(self, downloading: Sequence[Digest]) -> None:
        if self._announced_at is None:
            self._announced_at = time.monotonic()
        try:
            await self._bus.alive(self._publication.position, self._addresses, downloading)
        except PublishFailed as error:
            log.warning("heartbeat not sent", reason=error.reason)

    async def _downloading(self) -> Sequence[Digest]:
        try:
            return await self._store.downloading()
        except StoreUnavailable as error:
            log.debug("downloads unknown, the store is unavailable", reason=error.reason)
            return ()

    async def _write_state_when_due(self) -> None:
        delays, failing = backoff(), False
        while True:
            await self._state_due.next()
            if not self._listed:
                continue  # until then the file of the previous run is better
            try:
                await self._state_file.write(self._addresses, self._publication.live.tags)
            except StateUnwritable as error:
                if not failing:
                    log.warning(
                        "state file not written, trying again", path=str(error.path), reason=error.reason
                    )
                failing = True
                self._state_due.add(_Action.WRITE_STATE, next(delays))
            else:
                if failing:
                    log.info("state file written again")
                delays, failing = backoff(), False
                await asyncio.sleep(_STATE_WRITES_APART_S)
