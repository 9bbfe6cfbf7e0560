"""Which holders are named in an answer, and in which order."""

from collections.abc import Callable, Collection, Iterable

from heliograph_router.domain.index import RandomBelow
from heliograph_router.domain.replica import Replica

IsSuspect = Callable[[str], bool]

_SUSPECT_S = 10.0
_MAX_REPORTED = 1_000


class FailureReports:
    """Nodes that recently failed to deliver to some other node: suspect for 10 s. At most 1,000.

    A suspect is named last in every answer, but it is still named: if nobody else holds the content, it is
    the only choice. One false report about a good node therefore costs little.
    """

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}  # the first to end comes first

    def report(self, nodes: Iterable[str], now_s: float) -> None:
        for node in nodes:
            self._until_s.pop(node, None)
            self._until_s[node] = now_s + _SUSPECT_S
        while len(self._until_s) > _MAX_REPORTED:
            del self._until_s[next(iter(self._until_s))]

    def suspects(self, now_s: float) -> Collection[str]:
        """A live view, not a copy: use it before the next call."""
        while self._until_s:
            node, until_s = next(iter(self._until_s.items()))
            if until_s > now_s:
                break
            del self._until_s[node]
        return self._until_s.keys()


class Selector:
    """Power of two choices: of two holders drawn at random, takes the one less often named first lately.

    This spreads load nearly as well as comparing all holders. Always taking the least loaded one would send
    every requester to the same node at the same time.
    """

    def __init__(self, random_below: RandomBelow) -> None:
        self._random_below = random_below
        self._times_first: dict[str, int] = {}

    def choose(
        self,
        holders: Iterable[Replica],
        count: int,
        *,
        zone: str,
        is_suspect: IsSuspect,
        failed: Collection[str] = (),
    ) -> list[Replica]:
        """At most `count` holders: those in `zone`, in other zones, suspects, those that `failed` the asker.

        So an asker that all named nodes have failed hears of the others, even if these are suspects.
        """
        near: list[Replica] = []
        far: list[Replica] = []
        suspects: list[Replica] = []
        failing: list[Replica] = []
        for holder in holders:
            if holder.node in failed:
                failing.append(holder)
            elif is_suspect(holder.node):
                suspects.append(holder)
            elif holder.zone == zone or not zone:
                near.append(holder)
            else:
                far.append(holder)
        chosen: list[Replica] = []
        for pool in (near, far, suspects, failing):
            while pool and len(chosen) < count:
                chosen.append(self._draw(pool))
        if chosen:
            first = chosen[0].node
            self._times_first[first] = self._times_first.get(first, 0) + 1
        return chosen

    def decay(self) -> None:
        """Halve all counts, so that recent choices weigh more."""
        self._times_first = {node: count // 2 for node, count in self._times_first.items() if count > 1}

    def _draw(self, pool: list[Replica]) -> Replica:
        best = self._random_below(len(pool))
        if len(pool) > 1:
            other = (best + 1 + self._random_below(len(pool) - 1)) % len(pool)
            if self._times_first.get(pool[other].node, 0) < self._times_first.get(pool[best].node, 0):
                best = other
        pool[best], pool[-1] = pool[-1], pool[best]
        return pool.pop()
