"""Things to see to, each at its time and each once: asking again only brings it forward.

One coroutine reads; anyone on the same loop adds. Bounded: beyond `limit` different things all of them are
dropped for the one `instead`, which has to stand for any number of them.
"""

import asyncio
import math
import time
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Agenda(Generic[T]):
    def __init__(self, *, instead: T, limit: int = 256) -> None:
        self._instead, self._limit = instead, limit
        self._due: dict[T, float] = {}
        self._added = asyncio.Event()
        self._failure: Exception | None = None

    def add(self, thing: T, after_s: float = 0.0) -> None:
        """See to `thing` in `after_s` seconds, or earlier where that was wanted before."""
        if thing not in self._due and len(self._due) >= self._limit:
            self._due.clear()
            thing, after_s = self._instead, 0.0
        due = time.monotonic() + after_s
        self._due[thing] = min(due, self._due.get(thing, math.inf))
        self._added.set()

    def fail(self, error: Exception) -> None:
        """Let the reader raise `error`."""
        self._failure = error
        self._added.set()

    async def next(self) -> T:
        """Wait for the next thing's time, and take it off. Raises what `fail` was given."""
        while True:
            if self._failure is not None:
                raise self._failure
            thing = min(self._due, key=self._due.__getitem__, default=None)
            left = math.inf if thing is None else self._due[thing] - time.monotonic()
            if thing is not None and left <= 0:
                del self._due[thing]
                return thing
            self._added.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if left == math.inf else left):
                    await self._added.wait()
