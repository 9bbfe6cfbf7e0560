"""Finds second indexers with the name of another node. Pure: the caller passes the time.

Two indexers with one name replace each other in the index. The one with the later incarnation wins, and the
messages of the other are stale. An indexer that has ended sends no heartbeat, and one whose clock was set
back takes a later incarnation within moments. So stale heartbeats that go on for 5 s come from a second
indexer.
"""

from dataclasses import dataclass

PROOF_S = 5.0
_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Namesake:
    """The indexer whose content is ignored, and the addresses of its registry."""

    incarnation: int
    addresses: tuple[str, ...]


@dataclass(slots=True)
class _Heard:
    last: Namesake
    first_s: float
    last_s: float


class Namesakes:
    """By node, at most 1,000. One that is silent for a lease is forgotten."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._proof_s = min(PROOF_S, lease_s / 6)
        self._heard: dict[str, _Heard] = {}

    def heard(self, node: str, namesake: Namesake, now_s: float) -> None:
        """Note a heartbeat with a stale incarnation."""
        known = self._heard.get(node)
        if known is None or now_s - known.last_s >= self._lease_s:
            if known is None and len(self._heard) >= _MOST:
                return
            known = self._heard[node] = _Heard(namesake, now_s, now_s)
        known.last, known.last_s = namesake, now_s

    def of(self, node: str, now_s: float) -> Namesake | None:
        """The second indexer of that name, once it is proven."""
        known = self._heard.get(node)
        if known is None or now_s - known.last_s >= self._lease_s:
            return None
        return known.last if known.last_s - known.first_s >= self._proof_s else None

    def nodes(self, now_s: float) -> list[str]:
        """Forget those that are silent, and return the names that two indexers use."""
        for node in [node for node, one in self._heard.items() if now_s - one.last_s >= self._lease_s]:
            del self._heard[node]
        return [node for node in self._heard if self.of(node, now_s)]

    def end(self, node: str) -> None:
        """The other indexer of that name is gone, so this one is the only one."""
        self._heard.pop(node, None)
