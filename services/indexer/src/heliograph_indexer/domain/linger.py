"""How long changes wait for others to share a message with. Pure: the caller says the time, in seconds.

A pull commits its blobs within a moment, and other nodes wait for each of them; a node that is busy all day
must not flood the bus. So messages follow each other quickly at first, and if that does not end, four a
second.
"""

import math

_SPACING_S = 0.01
_MOST_AT_ONCE = 32  # as many as most images have blobs
_A_SECOND = 4.0


class Linger:
    """One every 10 ms until 32 have gone; then four a second, which also is how the 32 come back."""

    def __init__(self) -> None:
        self._left = float(_MOST_AT_ONCE)
        self._sent_s = -math.inf

    def due_in_s(self, now_s: float) -> float:
        """Seconds until a message may go."""
        missing = max(0.0, 1.0 - self._left_at(now_s))
        return max(0.0, self._sent_s + _SPACING_S - now_s, missing / _A_SECOND)

    def sent(self, now_s: float) -> None:
        self._left = max(0.0, self._left_at(now_s) - 1.0)
        self._sent_s = now_s

    def _left_at(self, now_s: float) -> float:
        if self._sent_s == -math.inf:
            return self._left
        return min(_MOST_AT_ONCE, self._left + (now_s - self._sent_s) * _A_SECOND)
