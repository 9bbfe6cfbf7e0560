"""When a watch looks at certs.d, and what for. Pure: times are seconds on one clock, which never goes back.

A look is due at once when what is wanted has changed, soon after a hint that something has, and every
`LOOK_EVERY_S` in any case. Where looks go on finding work, because somebody else wants the files otherwise or
because they fail, they come at growing distances after the first few.
"""

import math
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Self

LOOK_EVERY_S = 30.0
PAUSE_S = 1.0
QUICK_LOOKS = 5
"""So many may find work, each within `LOOK_EVERY_S` of the one before, until they are spread out."""

_MOST = 20  # from far below on the pause is the longest


class Intent(Enum):
    """What is wanted of certs.d."""

    WAIT = auto()  # nothing yet: what is there may be ours, of a run before this one
    MIRROR = auto()
    RESTORE = auto()


@dataclass(frozen=True, slots=True)
class Course:
    """`ready_at` is when the registry was last ready; at first, when the watch began."""

    withdraw_after_s: float
    ready_at: float
    intent: Intent = Intent.WAIT
    hinted: bool = False
    looked_at: float = -math.inf
    looked_for: Intent = Intent.WAIT
    restless: int = 0
    restless_at: float = -math.inf

    def probed(self, now: float, *, ready: bool) -> Self:
        """The registry was asked whether it is ready."""
        if ready:
            return replace(self, ready_at=now, intent=Intent.MIRROR)
        if now - self.ready_at >= self.withdraw_after_s:
            return replace(self, intent=Intent.RESTORE)
        return self

    def told(self) -> Self:
        """Something may have changed."""
        return replace(self, hinted=True)

    @property
    def pause_s(self) -> float:
        """The least time from one look to the next."""
        return float(min(PAUSE_S * 2 ** max(0, self.restless - QUICK_LOOKS + 1), LOOK_EVERY_S))

    def is_due(self, now: float) -> bool:
        if self.intent is Intent.WAIT:
            return False
        if self.intent is not self.looked_for:
            return True
        return now - self.looked_at >= (self.pause_s if self.hinted else LOOK_EVERY_S)

    def looking(self, now: float) -> Self:
        """A look begins; hints from now on ask for another one."""
        return replace(self, looked_at=now, hinted=False)

    def looked(self, intent: Intent, now: float, *, changed: bool, failed: bool) -> Self:
        """One that began with `intent` has ended; `failed`: it is to be tried again."""
        seen = replace(self, looked_for=intent, hinted=self.hinted or failed)
        if failed or (changed and intent is self.looked_for):
            return replace(seen, restless=min(self.restless + 1, _MOST), restless_at=now)
        if now - self.restless_at >= LOOK_EVERY_S:
            return replace(seen, restless=0)
        return seen
