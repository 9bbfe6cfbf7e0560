"""Keeps nodes whose leases ended together with very many others.

When more than 30% of the nodes fall silent at the same time, a fault of the bus is more likely than that many
dead nodes, and their registries probably still serve.
"""

from collections.abc import Collection, Iterable

KEEP_S = 300.0
_MAX_SHARE = 0.3
_MIN_SILENT = 5  # below it most nodes of a small cluster may really be gone, and asking them costs little


class MassSilence:
    """Decides which nodes with an expired lease are lost, and which are kept as stale for up to 5 minutes."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    @property
    def stale(self) -> Collection[str]:
        """The nodes that are kept although their leases have expired."""
        return self._since_s.keys()

    def lost(self, expired: Iterable[str], *, silent: int, nodes: int, now_s: float) -> list[str]:
        """Return those of `expired` that are lost, and keep the others as stale.

        `expired` are all nodes whose lease has expired, of `nodes` in total. `silent` counts the nodes that
        have already missed a heartbeat: the leases of nodes that fall silent together do not end together.
        Call this often; a node that is heard from again is no longer in `expired`, and so no longer stale.
        """
        if silent < _MIN_SILENT or silent <= _MAX_SHARE * nodes:
            self._since_s.clear()
            return list(expired)
        self._since_s = {node: self._since_s.get(node, now_s) for node in expired}
        lost = [node for node, since_s in self._since_s.items() if now_s - since_s >= KEEP_S]
        for node in lost:
            del self._since_s[node]
        return lost
