"""How long peers took to answer lately, to tell when one is slow. Pure."""

from collections import deque

_SAMPLES = 128
_ENOUGH = 8


class RecentLatency:
    """The latency of the last 128 answers. Fewer than 8 are too few to tell."""

    def __init__(self, *, unknown_s: float, least_s: float, most_s: float) -> None:
        self._unknown_s, self._least_s, self._most_s = unknown_s, least_s, most_s
        self._samples: deque[float] = deque(maxlen=_SAMPLES)

    def add(self, seconds: float) -> None:
        self._samples.append(seconds)

    @property
    def p90_s(self) -> float:
        """The 90th percentile (nearest rank), within `least_s` and `most_s`; `unknown_s` if too few."""
        if len(self._samples) < _ENOUGH:
            return self._unknown_s
        ordered = sorted(self._samples)
        rank = -(-len(ordered) * 9 // 10) - 1
        return min(max(ordered[rank], self._least_s), self._most_s)
