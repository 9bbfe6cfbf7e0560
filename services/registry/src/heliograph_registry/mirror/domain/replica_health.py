"""Whether to ask a router replica, and before or after the others. Pure: the caller passes the time."""

from enum import IntEnum

HOLD_S = 2.0


class Turn(IntEnum):
    """When to ask a replica. Lower ones come first; a replica whose breaker is open is not asked at all."""

    FIRST = 0
    LAST = 1
    NEVER = 2


class ReplicaHealth:
    """A breaker that is open for 2 s after a failure.

    After an answer that was late or outdated, the replica is only asked after the others for 2 s: it is
    better than none. When the time is over, one call tries it as before; others follow once it has answered
    well.
    """

    def __init__(self, hold_s: float = HOLD_S) -> None:
        self._hold_s = hold_s
        self._until: float | None = None
        self._failed = False

    def turn(self, now: float) -> Turn:
        if self._until is None or now >= self._until:
            return Turn.FIRST
        return Turn.NEVER if self._failed else Turn.LAST

    def left_s(self, now: float) -> float:
        """For how many more seconds it is not asked at all."""
        return 0.0 if self._until is None or not self._failed else max(0.0, self._until - now)

    def asked(self, now: float) -> None:
        """A call begins. If it is the one that tries the replica, no other does until the hold has passed."""
        if self._until is not None and now >= self._until:
            self._until = now + self._hold_s

    def failed(self, now: float) -> None:
        self._until, self._failed = now + self._hold_s, True

    def doubtful(self, now: float) -> None:
        """It answered late, or it said that its answer is outdated."""
        self._until, self._failed = now + self._hold_s, False

    def answered(self) -> None:
        """It answered in time, and its answer is up to date."""
        self._until, self._failed = None, False
