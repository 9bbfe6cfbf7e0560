"""A circuit breaker: after a failure no call is made for a while. Pure: the caller passes the time."""


class Breaker:
    """Open while it blocks calls, for `hold_s` after each failure."""

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._open_until: float | None = None

    def admits(self, now: float) -> bool:
        """Whether to make a call. After the hold one call is admitted, and others once it has succeeded."""
        if self._open_until is None:
            return True
        if now < self._open_until:
            return False
        self._open_until = now + self._hold_s
        return True

    def left_s(self, now: float) -> float:
        """For how many more seconds no call is admitted; 0 if one is."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - now)

    def failed(self, now: float) -> None:
        self._open_until = now + self._hold_s

    def succeeded(self) -> None:
        self._open_until = None
