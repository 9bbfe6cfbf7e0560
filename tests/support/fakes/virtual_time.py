"""An event loop whose clock jumps to the next timer, so that tests of deadlines take no time."""

import asyncio
import selectors
from typing import Any


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Starts at 0 s. Only timers move its clock: use it where nothing waits for sockets or threads."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        self._now_s += seconds


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, Any]]:
        """`timeout` is None when nothing is scheduled: then only another thread can wake the loop."""
        ready = super().select(timeout and 0)
        if timeout and not ready:
            self._loop.advance(timeout)
        return ready
