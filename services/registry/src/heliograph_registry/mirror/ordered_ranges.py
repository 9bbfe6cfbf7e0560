"""Ranges of one blob that are sent in parallel, as containerd 2.1 requests them.

containerd cancels all ranges when one fails, and resumes the pull only if the range that failed is the
earliest one that it still reads. So when several ranges break, the earliest response ends first, and the
others after it.
"""

import asyncio
import time
from collections import Counter

from cachetools import TTLCache

from heliograph_registry.mirror.errors import StreamBroken
from heliograph_registry.mirror.ports import Outlet
from heliograph_registry.mirror.relay import Body
from heliograph_shared.digest import Digest

_GRACE_S = 0.5  # time for the client to read that the earlier range ended
_LONGEST_S = 30.0
_MOST_DIGESTS = 1024


class OrderedRanges:
    def __init__(self) -> None:
        self._under_way: dict[Digest, Counter[int]] = {}
        self._broke: TTLCache[Digest, int] = TTLCache(_MOST_DIGESTS, _GRACE_S, timer=time.monotonic)
        self._left = asyncio.Event()

    def enter(self, digest: Digest, first: int) -> None:
        self._under_way.setdefault(digest, Counter())[first] += 1

    def leave(self, digest: Digest, first: int) -> None:
        ranges = self._under_way[digest]
        ranges[first] -= 1
        if not +ranges:
            del self._under_way[digest]
        self._left.set()
        self._left = asyncio.Event()

    async def broke(self, digest: Digest, first: int) -> None:
        """Return when this broken range may end: no earlier one is being sent, or 30 s have passed."""
        behind = self._broke.get(digest, first) < first
        try:
            async with asyncio.timeout(_LONGEST_S):
                while any(other < first for other in +self._under_way[digest]):
                    behind = True
                    await self._left.wait()
                if behind:
                    await asyncio.sleep(_GRACE_S)
        except TimeoutError:
            pass
        self._broke[digest] = min(first, self._broke.get(digest, first))


class OrderedRange:
    """A body that is a range of a blob. If it breaks, it ends after all earlier ranges."""

    def __init__(self, body: Body, ranges: OrderedRanges, digest: Digest, first: int) -> None:
        self._body, self._ranges, self._digest, self._first = body, ranges, digest, first
        ranges.enter(digest, first)

    async def deliver(self, outlet: Outlet) -> None:
        try:
            await self._body.deliver(outlet)
        except StreamBroken:
            await self._ranges.broke(self._digest, self._first)
            raise

    def close(self) -> None:
        self._body.close()
        self._ranges.leave(self._digest, self._first)
