"""Lets requests wait for a blob that another node is fetching, beyond the bound that they have else."""

import asyncio

from heliograph_registry.mirror.deadline import LONGEST_S
from heliograph_registry.mirror.domain.peer import Resolution
from heliograph_registry.mirror.domain.ranges import ByteRange
from heliograph_registry.mirror.peering import Peering
from heliograph_shared.digest import Digest


class Waiting:
    def __init__(self, peering: Peering, *, wait_s: float, first_byte_s: float) -> None:
        """`wait_s`: how long a request may wait, 0 for not at all; `first_byte_s`: what it then has left."""
        self._peering, self._wait_s, self._first_byte_s = peering, wait_s, first_byte_s
        self._bounds: set[asyncio.Timeout] = set()

    async def resolution(
        self, digest: Digest, wanted: ByteRange | None, bound: asyncio.Timeout
    ) -> Resolution:
        """Who holds it, perhaps after a wait, which does not count against `bound`. Raises `NotServed`.

        Wait included, `bound` ends at most `LONGEST_S` after the request began.

        Only who wants it from its first byte waits. The parts of a download that is under way would else
        wait for each other, of two nodes at two routers, each of which has told the other one to go first.
        """
        if not self._wait_s or (wanted is not None and wanted.first != 0):
            (resolution,) = await self._peering.resolve([digest])
            return resolution
        clock = asyncio.get_running_loop().time
        began, ends = clock(), bound.when()
        assert ends is not None
        latest = ends - self._first_byte_s + LONGEST_S
        bound.reschedule(latest)  # the resolver keeps to its own timeout unless it is told to wait
        self._bounds.add(bound)
        try:
            (resolution,) = await self._peering.resolve([digest], wait_s=self._wait_s)
        finally:
            self._bounds.discard(bound)
        waited = clock() - began > self._first_byte_s
        bound.reschedule(min(clock() + self._first_byte_s, latest) if waited else ends)
        return resolution

    def stop(self) -> None:
        """End all waits, and let none begin."""
        self._wait_s = 0
        for bound in self._bounds:
            bound.reschedule(0)
