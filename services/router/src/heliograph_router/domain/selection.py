"""Which of the nodes that hold something are named to one that asks, and in which order."""

from collections.abc import Callable, Collection, Iterable

from heliograph_router.domain.index import Below
from heliograph_router.domain.replica import Replica

InDoubt = Callable[[str], bool]

_AVOIDED_S = 10.0
_MOST_REPORTED = 1_000


class Reported:
    """Nodes that did not deliver to some other: named last for 10 s, to everybody. At most 1,000.

    A hint, not a withdrawal: when nobody else holds the content, such a node is still named. What a node
    says of itself counts for nothing, and one bad report of a good peer costs it no more than its turn.
    """

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}

    def report(self, nodes: Iterable[str], now_s: float) -> None:
        for node in nodes:
            self._until_s.pop(node, None)
            self._until_s[node] = now_s + _AVOIDED_S
        while len(self._until_s) > _MOST_REPORTED:
            del self._until_s[next(iter(self._until_s))]

    def avoided(self, now_s: float) -> Collection[str]:
        """Those whose time is not over; it is looked at in place, so use it before the next call."""
        while self._until_s:
            node, until_s = next(iter(self._until_s.items()))  # in the order in which they end
            if until_s > now_s:
                break
            del self._until_s[node]
        return self._until_s.keys()


class Selector:
    """Power of two choices: of two holders drawn at random, the one that was named first less often lately.

    That spreads load nearly as well as looking at all of them, and unlike the least loaded one it does not
    send everybody to the same node at once.
    """

    def __init__(self, below: Below) -> None:
        self._below = below
        self._named: dict[str, int] = {}

    def choose(
        self, holders: Iterable[Replica], count: int, *, zone: str, in_doubt: InDoubt
    ) -> list[Replica]:
        """At most `count` of them, best first: those of `zone`, then others, then those in doubt."""
        near: list[Replica] = []
        far: list[Replica] = []
        doubtful: list[Replica] = []
        for holder in holders:
            if in_doubt(holder.node):
                doubtful.append(holder)
            elif holder.zone == zone or not zone:
                near.append(holder)
            else:
                far.append(holder)
        chosen: list[Replica] = []
        for pool in (near, far, doubtful):
            while pool and len(chosen) < count:
                chosen.append(self._draw(pool))
        if chosen:
            first = chosen[0].node
            self._named[first] = self._named.get(first, 0) + 1
        return chosen

    def fade(self) -> None:
        """Let what was named count half from now on."""
        self._named = {node: count // 2 for node, count in self._named.items() if count > 1}

    def _draw(self, pool: list[Replica]) -> Replica:
        best = self._below(len(pool))
        if len(pool) > 1:
            other = (best + 1 + self._below(len(pool) - 1)) % len(pool)
            if self._named.get(pool[other].node, 0) < self._named.get(pool[best].node, 0):
                best = other
        pool[best], pool[-1] = pool[-1], pool[best]
        return pool.pop()
