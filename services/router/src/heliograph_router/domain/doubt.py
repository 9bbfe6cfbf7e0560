"""Doubts that very many nodes died at one moment: more likely the bus lost them, and they serve on."""

from collections.abc import Collection, Iterable

HOLD_S = 300.0
_SHARE = 0.3
_AT_LEAST = 5  # of fewer nodes two thirds may well be gone at once, and asking them in vain costs little


class Doubt:
    """Which nodes are kept although their leases are over, since more than 30% fell silent together."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    @property
    def stale(self) -> Collection[str]:
        """Those that are kept."""
        return self._since_s.keys()

    def let_go(self, over: Iterable[str], *, silent: int, nodes: int, now_s: float) -> list[str]:
        """Which of the nodes whose leases are `over` are lost, of `nodes` in all.

        `silent` are those that have missed a heartbeat already: the leases of nodes that fell silent together
        do not end together. To be called often; a node that is heard again is no longer `over`.
        """
        if silent < _AT_LEAST or silent <= _SHARE * nodes:
            self._since_s.clear()
            return list(over)
        self._since_s = {node: self._since_s.get(node, now_s) for node in over}
        lost = [node for node, since_s in self._since_s.items() if now_s - since_s >= HOLD_S]
        for node in lost:
            del self._since_s[node]
        return lost
