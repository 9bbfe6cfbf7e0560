"""Leaves something that failed alone for a while. Pure: the caller says what time it is, in seconds."""


class Breaker:
    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._closed_until: float | None = None

    def admits(self, now: float) -> bool:
        """Whether to try. After the hold one caller may, the others only once that one succeeded."""
        if self._closed_until is None:
            return True
        if now < self._closed_until:
            return False
        self._closed_until = now + self._hold_s
        return True

    def left_s(self, now: float) -> float:
        """For how many seconds more nobody is asked; 0 when one may be."""
        return 0.0 if self._closed_until is None else max(0.0, self._closed_until - now)

    def failed(self, now: float) -> None:
        self._closed_until = now + self._hold_s

    def succeeded(self) -> None:
        self._closed_until = None
