"""When a watch reconciles certs.d, and with what intent. Pure: times are seconds on one monotonic clock.

A run is due at once when the intent has changed, soon after a hint that a file may have changed, and every
`RECONCILE_EVERY_S` in any case. When run after run finds work, because another program keeps rewriting the
files or because the runs fail, the interval between runs doubles up to `RECONCILE_EVERY_S`.
"""

import math
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Self

RECONCILE_EVERY_S = 30.0
MIN_INTERVAL_S = 1.0
FAST_RUNS = 5
"""So many runs may find work, each within `RECONCILE_EVERY_S` of the one before, until the interval grows."""

_MAX_BUSY_RUNS = 20  # bounds the power of two; the interval is at its maximum long before


class Intent(Enum):
    """The state that certs.d should be in."""

    WAIT = auto()  # change nothing yet: an earlier run of the watch may have left mirrors there
    MIRROR = auto()
    RESTORE = auto()


@dataclass(frozen=True, slots=True)
class ReconcileSchedule:
    """`ready_at` is when the registry was last ready; initially, when the watch began.

    `started_at` is when the last run started, `last_intent` the intent of the last run that finished.
    `busy_runs` counts recent runs that found work or failed, the latest at `busy_at`.
    """

    withdraw_after_s: float
    ready_at: float
    intent: Intent = Intent.WAIT
    hinted: bool = False
    started_at: float = -math.inf
    last_intent: Intent = Intent.WAIT
    busy_runs: int = 0
    busy_at: float = -math.inf

    def probed(self, now: float, *, ready: bool) -> Self:
        """The registry was asked whether it is ready."""
        if ready:
            return replace(self, ready_at=now, intent=Intent.MIRROR)
        if now - self.ready_at >= self.withdraw_after_s:
            return replace(self, intent=Intent.RESTORE)
        return self

    def with_hint(self) -> Self:
        """A file may have changed."""
        return replace(self, hinted=True)

    @property
    def interval_s(self) -> float:
        """The shortest time between the starts of two runs with one intent."""
        doublings = max(0, self.busy_runs - FAST_RUNS + 1)
        return float(min(MIN_INTERVAL_S * 2**doublings, RECONCILE_EVERY_S))

    def is_due(self, now: float) -> bool:
        if self.intent is Intent.WAIT:
            return False
        if self.intent is not self.last_intent:
            return True
        return now - self.started_at >= (self.interval_s if self.hinted else RECONCILE_EVERY_S)

    def started(self, now: float) -> Self:
        """A run starts; a hint from now on asks for another one."""
        return replace(self, started_at=now, hinted=False)

    def finished(self, intent: Intent, now: float, *, changed: bool, failed: bool) -> Self:
        """The run that was started for `intent` has ended; one that `failed` is tried again."""
        after = replace(self, last_intent=intent, hinted=self.hinted or failed)
        if failed or (changed and intent is self.last_intent):
            return replace(after, busy_runs=min(self.busy_runs + 1, _MAX_BUSY_RUNS), busy_at=now)
        if now - self.busy_at >= RECONCILE_EVERY_S:
            return replace(after, busy_runs=0)
        return after
