"""OrderedRanges of one blob that are sent at once, as containerd 2.1's parallel ranges ask for them.

There an error of any part cancels the others, and the pull only resumes when it reads the error of the part
that it has come to: the earliest. So where parts break, the earliest ends first, the others after it.
"""

import asyncio
import time
from collections import Counter

from cachetools import TTLCache

from heliograph_registry.mirror.errors import StreamBroken
from heliograph_registry.mirror.ports import Outlet
from heliograph_registry.mirror.relay import Body
from heliograph_shared.digest import Digest

_GRACE_S = 0.5  # for the client to have read the earlier end
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
        """Return when this part may end: no earlier one is under way, or it has taken 30 s."""
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
    """A body that is a part of a blob, and breaks in its turn."""

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
