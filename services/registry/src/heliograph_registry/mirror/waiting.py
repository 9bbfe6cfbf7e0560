"""Lets requests wait for a blob that another node is fetching, for longer than the usual time limit."""

import asyncio

from heliograph_registry.mirror.deadline import LONGEST_S
from heliograph_registry.mirror.domain.peer import Resolution
from heliograph_registry.mirror.domain.ranges import ByteRange
from heliograph_registry.mirror.peering import Peering
from heliograph_shared.digest import Digest


class WaitingRequests:
    def __init__(self, peering: Peering, *, wait_s: float, first_byte_s: float) -> None:
        """`wait_s`: how long a request may wait, 0 for not at all; `first_byte_s`: its limit after that."""
        self._peering, self._wait_s, self._first_byte_s = peering, wait_s, first_byte_s
        self._deadlines: set[asyncio.Timeout] = set()

    async def resolution(
        self, digest: Digest, wanted: ByteRange | None, deadline: asyncio.Timeout
    ) -> Resolution:
        """The nodes that hold the blob. A wait does not count towards `deadline`. Raises `NotServed`.

        A wait included, `deadline` ends at most `LONGEST_S` after the request began.

        Only requests from the blob's first byte on wait. Otherwise two nodes that both download the blob in
        ranges could wait for each other, if they ask two routers and each router named the other node first.
        """
        if not self._wait_s or (wanted is not None and wanted.first != 0):
            (resolution,) = await self._peering.resolve([digest])
            return resolution
        clock = asyncio.get_running_loop().time
        began, ends = clock(), deadline.when()
        assert ends is not None
        latest = ends - self._first_byte_s + LONGEST_S
        deadline.reschedule(latest)  # the resolver has a timeout of its own while it does not wait
        self._deadlines.add(deadline)
        try:
            (resolution,) = await self._peering.resolve([digest], wait_s=self._wait_s)
        finally:
            self._deadlines.discard(deadline)
        waited = clock() - began > self._first_byte_s
        deadline.reschedule(min(clock() + self._first_byte_s, latest) if waited else ends)
        return resolution

    def stop(self) -> None:
        """End all waits now, and let no other one begin."""
        self._wait_s = 0
        for deadline in self._deadlines:
            deadline.reschedule(0)
