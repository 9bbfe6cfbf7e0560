"""A queue of things that become due at their own times. Each thing is queued once.

Adding a queued thing again can only make it due earlier. One coroutine reads; any code on the same loop adds.
The queue is bounded: beyond `limit` different things, all of them are replaced by the one `overflow`, which
must stand for any number of them.
"""

import asyncio
import math
import time
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class DueQueue(Generic[T]):
    def __init__(self, *, overflow: T, limit: int = 256) -> None:
        self._overflow, self._limit = overflow, limit
        self._due: dict[T, float] = {}
        self._added = asyncio.Event()
        self._failure: Exception | None = None

    def add(self, thing: T, after_s: float = 0.0) -> None:
        """Make `thing` due in `after_s` seconds, unless it is due earlier already."""
        if thing not in self._due and len(self._due) >= self._limit:
            self._due.clear()
            thing, after_s = self._overflow, 0.0
        due = time.monotonic() + after_s
        self._due[thing] = min(due, self._due.get(thing, math.inf))
        self._added.set()

    def fail(self, error: Exception) -> None:
        """Make `next` raise `error`."""
        self._failure = error
        self._added.set()

    async def next(self) -> T:
        """Wait until the next thing is due and remove it. Raises the error given to `fail`."""
        while True:
            if self._failure is not None:
                raise self._failure
            thing = min(self._due, key=self._due.__getitem__, default=None)
            left_s = math.inf if thing is None else self._due[thing] - time.monotonic()
            if thing is not None and left_s <= 0:
                del self._due[thing]
                return thing
            self._added.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if left_s == math.inf else left_s):
                    await self._added.wait()
