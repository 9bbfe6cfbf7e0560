"""Pulls snapshots of the nodes whose copy is not right, at most 64 at a time and one of each node.

An answer is some hundred kilobytes, so a router that asked thousands of nodes at once would be cut off by
the bus as a slow consumer. What needs a snapshot is asked again until it no longer does, each time later.
"""

import asyncio
from collections.abc import Callable

import structlog

from heliograph_router.domain.cluster import NeedSnapshot
from heliograph_router.domain.events import Snapshot
from heliograph_router.errors import SnapshotUnavailable
from heliograph_router.ports import Snapshots
from heliograph_shared.runtime import backoff

log = structlog.get_logger()

_IN_FLIGHT = 64
_TELL_AFTER = 5

OnSnapshot = Callable[[Snapshot], None]
StillNeeded = Callable[[str], NeedSnapshot | None]


class Resync:
    """Works while `run` does; `want` is for the code that runs beside it."""

    def __init__(self, snapshots: Snapshots, *, on_snapshot: OnSnapshot, still_needed: StillNeeded) -> None:
        self._snapshots = snapshots
        self._on_snapshot, self._still_needed = on_snapshot, still_needed
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT)
        self._asked: set[str] = set()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    def want(self, need: NeedSnapshot) -> None:
        """Ask the node, unless that is being done already."""
        if self._group is not None and need.node not in self._asked:
            self._asked.add(need.node)
            self._group.create_task(self._ask(need))

    async def _ask(self, first: NeedSnapshot) -> None:
        need: NeedSnapshot | None = first
        delays, failures = backoff(), 0
        try:
            while need is not None:
                try:
                    async with self._in_flight:
                        snapshot = await self._snapshots.pull(need.node, need.incarnation)
                except SnapshotUnavailable as error:
                    failures += 1
                    if failures == _TELL_AFTER:
                        log.warning("a node does not say what it holds", node=need.node, reason=error.reason)
                else:
                    self._on_snapshot(snapshot)
                await asyncio.sleep(next(delays))
                need = self._still_needed(need.node)
        finally:
            self._asked.discard(first.node)
