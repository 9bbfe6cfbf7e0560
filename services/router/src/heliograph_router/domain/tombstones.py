"""Incarnations of nodes that are gone, so that late messages do not bring back their content."""

from dataclasses import dataclass

from heliograph_router.domain.events import Moment

_KEEP_S = 24 * 3600.0
_MAX_TOMBSTONES = 50_000


@dataclass(frozen=True, slots=True)
class _Tombstone:
    incarnation: int
    on_purpose: bool
    at_s: float


class Tombstones:
    """One for each node that is gone, kept for 24 hours; beyond 50,000 the oldest are dropped."""

    def __init__(self) -> None:
        self._by_node: dict[str, _Tombstone] = {}  # oldest first

    def add(self, node: str, incarnation: int, at: Moment, *, on_purpose: bool) -> None:
        self._by_node.pop(node, None)
        self._by_node[node] = _Tombstone(incarnation, on_purpose, at.monotonic_s)
        if len(self._by_node) > _MAX_TOMBSTONES:
            del self._by_node[next(iter(self._by_node))]

    def incarnation_of(self, node: str) -> int:
        """The node's last known incarnation; 0 when it has no tombstone."""
        tombstone = self._by_node.get(node)
        return tombstone.incarnation if tombstone else 0

    def admits(self, node: str, incarnation: int) -> bool:
        """True if content of that incarnation brings the node back.

        Content of a newer incarnation always does. That of the same one does if its lease ended, since it may
        only have been cut off; not if it left on purpose. A heartbeat brings back any node, because it has no
        content, and only a living indexer can send a snapshot.
        """
        tombstone = self._by_node.get(node)
        if tombstone is None:
            return True
        return incarnation > tombstone.incarnation or (
            incarnation == tombstone.incarnation and not tombstone.on_purpose
        )

    def remove(self, node: str) -> None:
        self._by_node.pop(node, None)

    def drop_old(self, at: Moment) -> None:
        while self._by_node:
            node = next(iter(self._by_node))
            if at.monotonic_s - self._by_node[node].at_s < _KEEP_S:
                return
            del self._by_node[node]
