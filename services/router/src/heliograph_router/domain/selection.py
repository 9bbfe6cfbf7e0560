"""Which of the nodes that hold something are named to one that asks, and in which order."""

from collections.abc import Collection, Iterable

from heliograph_router.domain.index import Below
from heliograph_router.domain.replica import Replica


class Selector:
    """Power of two choices: of two holders drawn at random, the one that was named first less often lately.

    That spreads load nearly as well as looking at all of them, and unlike the least loaded one it does not
    send everybody to the same node at once.
    """

    def __init__(self, below: Below) -> None:
        self._below = below
        self._named: dict[str, int] = {}

    def choose(
        self, holders: Iterable[Replica], count: int, *, zone: str, last: Collection[str]
    ) -> list[Replica]:
        """At most `count` of them, best first: those of `zone`, then the others, then the nodes in `last`."""
        near: list[Replica] = []
        far: list[Replica] = []
        doubtful: list[Replica] = []
        for holder in holders:
            if holder.node in last:
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
