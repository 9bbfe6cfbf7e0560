"""How fast each node delivered blobs lately, to tell when one is slow. Pure: the caller passes the time.

Threads of the byte path call `slow_below`: every update replaces a tuple or one entry of a dict as a whole.
"""

from collections import Counter
from dataclasses import dataclass
from statistics import median

_KEPT_S = 120.0
_MOST_NODES = 64
_ENOUGH_BYTES, _ENOUGH_S = 256 << 10, 1.0
"""A delivery with less of both shows only how long a request takes."""
_LEAST_S = 0.001  # the resolution of the clock

_FAR_BELOW = 32
_NEVER_SLOW_BYTES_S = 512 << 10
"""A node's line may be shared by a hundred transfers; at this rate it works."""
_UNKNOWN_BYTES_S = 128 << 10


@dataclass(frozen=True, slots=True)
class _Rate:
    node: str
    bytes_s: float
    at: float


class Throughput:
    """The latest rate of at most 64 nodes, each for two minutes, and how many deliveries each has running."""

    def __init__(self) -> None:
        self._rates: tuple[_Rate, ...] = ()
        self._running: Counter[str] = Counter()

    def begin(self, node: str, now: float) -> None:
        """The node begins to deliver. Every `begin` must be followed by an `end`."""
        self._running[node] += 1
        self._rates = tuple(rate for rate in self._rates if now - rate.at < _KEPT_S)

    def end(self, node: str, size_bytes: int, seconds: float, now: float) -> None:
        """The node has delivered so many bytes since `begin`, whatever limited it."""
        self._running[node] -= 1
        if not self._running[node]:
            del self._running[node]
        if size_bytes < _ENOUGH_BYTES and seconds < _ENOUGH_S:
            return
        latest = _Rate(node, size_bytes / max(seconds, _LEAST_S), now)
        others = (rate for rate in self._rates if rate.node != node)
        self._rates = (latest, *others)[:_MOST_NODES]

    def slow_below(self, node: str) -> float:
        """Bytes per second below which one delivery of the node is slow.

        That is a 32nd of what the other nodes delivered (their median), and never more than 512 KiB/s; 128
        KiB/s if no other node has delivered anything. Deliveries that run at once share the node's line.
        """
        others = [rate.bytes_s for rate in self._rates if rate.node != node]
        limit = min(median(others) / _FAR_BELOW, _NEVER_SLOW_BYTES_S) if others else _UNKNOWN_BYTES_S
        return limit / max(1, self._running[node])
