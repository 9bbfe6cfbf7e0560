"""Whether a transfer has stalled, or its source is slow. Pure: the caller passes the time in seconds.

Only time in which the transfer waited for its source, and never for its client, counts against the source.
A process that does not run cannot judge: of the time between two checks, half a second counts at most.
"""

import math
from collections import deque
from collections.abc import Callable
from enum import Enum, auto

_CLIENT_S = 120.0
_MIN_BYTES_S = 1024
_SILENT_S, _SLOW_S = 2.0, 4.0
_MOST_BETWEEN_CHECKS_S = 0.5
_SAMPLES = 16

CHECK_EVERY_S = 0.25
"""How often a running transfer should be checked."""


class Side(Enum):
    """The side that a transfer waits for."""

    SOURCE = auto()
    CLIENT = auto()


class Stall(Enum):
    """What is wrong with a transfer."""

    SOURCE_SLOW = auto()
    """Another source may be much faster. If there is none, go on with this one."""
    SOURCE_STALLED = auto()
    """The source would hold the transfer for ever."""
    CLIENT_STALLED = auto()


class StallDetector:
    """Judges one transfer, or several in turn from the same source (`restart`).

    A source is slow if it sends nothing for 2 s, or for 4 s less than `slow_below()` bytes per second. Each
    time it was found slow, it is given twice as long. It has stalled if it sends less than 1 KiB/s for
    `source_s`. A client has stalled if it accepts no bytes for `client_s`.
    """

    def __init__(
        self,
        now: float,
        *,
        source_s: float,
        client_s: float = _CLIENT_S,
        slow_below: Callable[[], float] | None = None,
    ) -> None:
        """Without `slow_below` the source is never slow: there is no other one."""
        self._client_s, self._slow_below = client_s, slow_below
        self._waited_s, self._received = 0.0, 0
        self._silent_since_s, self._patience = 0.0, 1
        self._stalled, self._slow = _Window(source_s), _Window(_SLOW_S)
        self.restart(now)

    def restart(self, now: float) -> None:
        """A transfer begins, and counts its bytes from 0."""
        self._moved, self._moved_at, self._checked_at = 0, now, now
        self._waited_for: set[Side] = set()

    def waits_for(self, side: Side) -> None:
        self._waited_for.add(side)

    def check(self, moved: int, now: float, waiting_for: Side | None) -> Stall | None:
        """What is wrong, if anything.

        `moved` is the number of bytes so far; `waiting_for` is the side that the transfer waits for now, None
        if it has bytes in hand. A source is only blamed while the transfer waits for it: no byte is lost when
        it ends then.
        """
        self._account(moved, now)
        self._waited_for = {waiting_for} if waiting_for else set()
        if waiting_for is Side.CLIENT:
            return Stall.CLIENT_STALLED if now - self._moved_at >= self._client_s else None
        stalled = self._stalled.is_below(_MIN_BYTES_S, self._waited_s, self._received)
        slow = self._is_slow()
        if waiting_for is not Side.SOURCE:
            return None
        if stalled:
            return Stall.SOURCE_STALLED
        if not slow:
            return None
        self._patience *= 2
        self._silent_since_s = self._waited_s
        self._slow = _Window(_SLOW_S * self._patience, self._waited_s, self._received)
        return Stall.SOURCE_SLOW

    def _account(self, moved: int, now: float) -> None:
        if self._waited_for == {Side.SOURCE}:
            self._waited_s += min(now - self._checked_at, _MOST_BETWEEN_CHECKS_S)
            self._received += moved - self._moved
        if moved != self._moved:
            self._moved, self._moved_at = moved, now
            self._silent_since_s = self._waited_s
        self._checked_at = now

    def _is_slow(self) -> bool:
        if self._slow_below is None:
            return False
        slow = self._slow.is_below(self._slow_below(), self._waited_s, self._received)
        return slow or self._waited_s - self._silent_since_s >= _SILENT_S * self._patience


class _Window:
    """The rate of the last `seconds` of waiting, and up to an eighth more."""

    def __init__(self, seconds: float, waited_s: float = 0.0, received: int = 0) -> None:
        self._seconds = seconds
        self._samples = deque([(waited_s, received, math.inf)])

    def is_below(self, limit: float, waited_s: float, received: int) -> bool:
        """Whether the rate, in bytes per second, is below all limits given in that time."""
        if waited_s - self._samples[-1][0] >= self._seconds / _SAMPLES:
            self._samples.append((waited_s, received, limit))
        while len(self._samples) > 1 and self._samples[1][0] <= waited_s - self._seconds:
            self._samples.popleft()
        began_s, before, _ = self._samples[0]
        spanned_s = waited_s - began_s
        if spanned_s < self._seconds:
            return False
        return (received - before) / spanned_s < min(limit, *(sample[2] for sample in self._samples))
