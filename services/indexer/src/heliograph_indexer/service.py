"""The indexer: follows the content store, and keeps the bus and the node's registry told of it.

Three coroutines on one loop: one follows the store, one sees to what is due on the bus, one writes the state
file; none waits for another. What changes is only noted, in the publication and on an agenda, so an outage
of bus, store or file costs no memory and is caught up with afterwards. Nothing is announced before the
store was listed once: an empty inventory would withdraw all that this node held before a restart.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from enum import Enum, auto

import structlog

from heliograph_indexer.agenda import Agenda
from heliograph_indexer.domain.content import Content, StoreEvent, TagRemoved, TagSet
from heliograph_indexer.domain.linger import Linger
from heliograph_indexer.domain.publication import Advertised, Publication, Snapshot
from heliograph_indexer.errors import BusUnavailable, StateUnwritable, StoreUnavailable
from heliograph_indexer.ports import Announcer, ContentStore, StateFile
from heliograph_shared.digest import Digest
from heliograph_shared.runtime import backoff

log = structlog.get_logger()

_STATE_LINGER_S = 0.1
_HELLO_JITTER_S = 5.0
_HEARTBEAT_SPREAD = 0.2
_OUTBID_S = 60.0
_OUTBID_MOST = 2**63 - 2

AdmitsTag = Callable[[str], bool]


class _Duty(Enum):
    PUBLISH = auto()
    HEARTBEAT = auto()
    WRITE_STATE = auto()


class Indexer:
    """`incarnation` is `time_ns` at start; `admits_tag` says which references anyone may be told of."""

    def __init__(
        self,
        *,
        store: ContentStore,
        bus: Announcer,
        state_file: StateFile,
        admits_tag: AdmitsTag,
        incarnation: int,
        heartbeat_s: float,
    ) -> None:
        self._store, self._bus, self._state_file = store, bus, state_file
        self._admits_tag = admits_tag
        self._heartbeat_s = heartbeat_s
        self._publication = Publication(incarnation)
        self._publishing = asyncio.Lock()
        self._linger = Linger()
        self._announced_at: float | None = None
        self._noted_s: float | None = None
        self._bus_due = Agenda[_Duty](instead=_Duty.HEARTBEAT)
        self._state_due = Agenda[_Duty](instead=_Duty.WRITE_STATE)
        self._addresses: tuple[str, ...] = ()
        self._listed = self._following = self._leaving = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_store())
            group.create_task(self._see_to_bus())
            group.create_task(self._keep_state_file())

    async def leave(self) -> None:
        """Withdraw the node; called once `run` has ended."""
        self._leaving = True
        if self._announced_at is None:
            return
        try:
            await self._bus.left(self._publication.position)
        except BusUnavailable as error:
            log.warning("left without telling the bus, the lease will end", reason=error.reason)

    def unready_reason(self) -> str | None:
        reasons = []
        if not self._following:
            reasons.append("the content store is not listed")
        if not self._bus.connected:
            reasons.append("the bus is not connected")
        return ", ".join(reasons) or None

    def following(self) -> bool:
        """Whether every change of the store is heard of."""
        return self._following

    def advertised(self) -> Advertised:
        """How much the bus was told of."""
        return self._publication.advertised(len(self._addresses))

    def advertise(self, addresses: tuple[str, ...]) -> None:
        """From now on peers reach this node's registry at these, or not at all."""
        self._addresses = addresses
        self._bus_due.add(_Duty.HEARTBEAT)
        self._state_due.add(_Duty.WRITE_STATE)

    def bus_connected(self) -> None:
        """What was sent before may be lost: a heartbeat lets routers find out at once."""
        self._bus_due.add(_Duty.PUBLISH)
        self._bus_due.add(_Duty.HEARTBEAT)

    def router_started(self) -> None:
        """Every node hears it at the same moment, so each answers at another."""
        jitter_s = random.uniform(0, min(_HELLO_JITTER_S, self._heartbeat_s))  # noqa: S311
        self._bus_due.add(_Duty.HEARTBEAT, jitter_s)

    async def snapshot(self, known_incarnation: int) -> Snapshot | None:
        """All that was published, for a router that knows of `known_incarnation`; None: nothing yet.

        A higher one than ours is of a clock that was set back since, and hides us from routers. A young
        indexer then goes above it and publishes everything anew before it answers, so that no router
        ever sees this node empty. An old one does not: it may be a second indexer of the same name.
        """
        if not self._listed or self._leaving:
            return None
        async with self._publishing:
            own = self._publication.position.incarnation
            if known_incarnation > own:
                young = time.monotonic() - (self._announced_at or math.inf) < _OUTBID_S
                log.warning(
                    "a router knows a later incarnation of this node",
                    known=known_incarnation,
                    own=own,
                    outbid=young,
                )
                if young and known_incarnation <= _OUTBID_MOST:
                    self._publication.outbid(known_incarnation)
                    await self._send_pending()
                    self._bus_due.add(_Duty.HEARTBEAT)
            return self._publication.freeze(self._addresses)

    async def _follow_store(self) -> None:
        delays = backoff()
        while True:
            try:
                async with self._store.watch() as watch:
                    self._take_listing(watch.content)
                    delays = backoff()
                    async for event in watch.changes():
                        self._take_event(event)
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

    def _take_listing(self, content: Content) -> None:
        tags = {reference: tag for reference, tag in content.tags.items() if self._admits_tag(reference)}
        log.info("content store listed", blobs=len(content.blobs), tags=len(tags))
        self._publication.replace(Content(content.blobs, tags))
        first, self._listed, self._following = not self._listed, True, True
        self._note_change()
        self._state_due.add(_Duty.WRITE_STATE)
        if first:
            self._bus_due.add(_Duty.HEARTBEAT)

    def _take_event(self, event: StoreEvent) -> None:
        if isinstance(event, TagSet | TagRemoved):
            if not self._admits_tag(event.reference):
                return
            self._state_due.add(_Duty.WRITE_STATE)
        log.debug("content changed", change=event)
        self._publication.apply(event)
        self._note_change()

    def _note_change(self) -> None:
        """The first change after a quiet time goes at once, those that follow it share messages."""
        now_s = time.monotonic()
        if self._noted_s is None:
            self._noted_s = now_s
        self._bus_due.add(_Duty.PUBLISH, self._linger.due_in_s(now_s))

    async def _see_to_bus(self) -> None:
        while True:
            duty = await self._bus_due.next()
            if not self._listed:
                continue  # the first listing makes both due
            downloading: Sequence[Digest] = ()
            if duty is _Duty.HEARTBEAT:
                spread = random.uniform(1 - _HEARTBEAT_SPREAD, 1 + _HEARTBEAT_SPREAD)  # noqa: S311
                self._bus_due.add(_Duty.HEARTBEAT, self._heartbeat_s * spread)
                downloading = await self._downloading()
            if not self._bus.connected:
                continue  # its return makes both due
            async with self._publishing:
                if duty is _Duty.PUBLISH:
                    await self._send_pending()
                else:
                    await self._send_heartbeat(downloading)

    async def _send_pending(self) -> None:
        """Under the lock, so that deltas go in their order."""
        deltas = self._publication.take()
        noted_s, self._noted_s = self._noted_s, None
        if not deltas:
            return
        self._linger.sent(time.monotonic())
        try:
            for delta in deltas:
                await self._bus.changed(delta, noted_s)
        except BusUnavailable as error:
            log.warning("changes not announced, routers will ask for a snapshot", reason=error.reason)
            self._bus_due.add(_Duty.HEARTBEAT)

    async def _send_heartbeat(self, downloading: Sequence[Digest]) -> None:
        if self._announced_at is None:
            self._announced_at = time.monotonic()
        try:
            await self._bus.alive(self._publication.position, self._addresses, downloading)
        except BusUnavailable as error:
            log.warning("heartbeat not sent", reason=error.reason)

    async def _downloading(self) -> Sequence[Digest]:
        try:
            return await self._store.downloading()
        except StoreUnavailable as error:
            log.debug("not known what is being downloaded", reason=error.reason)
            return ()

    async def _keep_state_file(self) -> None:
        delays, failing = backoff(), False
        while True:
            await self._state_due.next()
            if not self._listed:
                continue  # the file of the run before knows more than we do yet
            try:
                await self._state_file.write(self._addresses, self._publication.live.tags)
            except StateUnwritable as error:
                if not failing:
                    log.warning(
                        "state file not written, trying again", path=str(error.path), reason=error.reason
                    )
                failing = True
                self._state_due.add(_Duty.WRITE_STATE, next(delays))
            else:
                if failing:
                    log.info("state file written again")
                delays, failing = backoff(), False
                await asyncio.sleep(_STATE_LINGER_S)
