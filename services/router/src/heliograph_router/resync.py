"""Pulls snapshots of the nodes whose copy is out of sync, from at most 64 nodes at a time.

A snapshot has hundreds of kilobytes: a router that asked thousands of nodes at once would be disconnected by
the bus as a slow consumer. A node is asked again, with a growing delay, until its copy no longer needs a
snapshot.
"""

import asyncio
from collections.abc import Callable

import structlog

from heliograph_router.domain.cluster import NeedSnapshot
from heliograph_router.domain.events import ReceivedSnapshot
from heliograph_router.errors import SnapshotUnavailable
from heliograph_router.ports import Snapshots
from heliograph_shared.runtime import backoff

log = structlog.get_logger()

_MAX_IN_FLIGHT = 64
_WARN_AFTER_FAILURES = 5

OnSnapshot = Callable[[ReceivedSnapshot], None]
StillNeeded = Callable[[str], NeedSnapshot | None]


class Resync:
    """Pulls while `run` is running; `request` may be called at any time from the same event loop."""

    def __init__(self, snapshots: Snapshots, *, on_snapshot: OnSnapshot, still_needed: StillNeeded) -> None:
        self._snapshots = snapshots
        self._on_snapshot, self._still_needed = on_snapshot, still_needed
        self._in_flight = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._requested: set[str] = set()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    def request(self, need: NeedSnapshot) -> None:
        """Pull the node's snapshot, unless that is already under way."""
        if self._group is not None and need.node not in self._requested:
            self._requested.add(need.node)
            self._group.create_task(self._pull(need))

    async def _pull(self, first: NeedSnapshot) -> None:
        need: NeedSnapshot | None = first
        delays, failures = backoff(), 0
        try:
            while need is not None:
                try:
                    async with self._in_flight:
                        snapshot = await self._snapshots.pull(need)
                except SnapshotUnavailable as error:
                    failures += 1
                    if failures == _WARN_AFTER_FAILURES:
                        log.warning("no snapshot from a node", node=need.node, reason=error.reason)
                else:
                    self._on_snapshot(snapshot)
                await asyncio.sleep(next(delays))
                need = self._still_needed(need.node)
        finally:
            self._requested.discard(first.node)
