"""How many bytes were exchanged with each other node, in one direction. Pure, and bounded."""

from dataclasses import dataclass

_MOST_NODES = 256
_KEPT_NODES = 128
_MOST_NAME = 253


@dataclass(frozen=True, slots=True)
class Share:
    """The bytes and transfers of one node, or of several nodes that are counted together."""

    node: str
    size_bytes: int
    times: int


@dataclass(slots=True)
class _Count:
    size_bytes: int = 0
    times: int = 0

    def add(self, size_bytes: int, times: int) -> None:
        self.size_bytes += size_bytes
        self.times += times


class Traffic:
    """Counts up to 256 nodes separately; of more, only the 128 with most bytes, and the sum of the others."""

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}
        self._others = _Count()

    def add(self, node: str, size_bytes: int) -> None:
        """`node` is as the peer stated it; a name that no node can have is counted with the others."""
        if not 0 < len(node) <= _MOST_NAME:
            self._others.add(size_bytes, 1)
            return
        count = self._counts.get(node)
        if count is None:
            count = self._counts[node] = _Count()
        count.size_bytes += size_bytes
        count.times += 1
        if len(self._counts) > _MOST_NODES:
            self._fold()

    def shares(self, most: int) -> tuple[tuple[Share, ...], Share]:
        """The `most` nodes with most bytes, in that order, and the sum of the others with an empty name."""
        ordered = self._ordered()
        others = _Count(self._others.size_bytes, self._others.times)
        for _, count in ordered[most:]:
            others.add(count.size_bytes, count.times)
        named = tuple(Share(node, count.size_bytes, count.times) for node, count in ordered[:most])
        return named, Share("", others.size_bytes, others.times)

    @property
    def size_bytes(self) -> int:
        return self._others.size_bytes + sum(count.size_bytes for count in self._counts.values())

    def _ordered(self) -> list[tuple[str, _Count]]:
        return sorted(self._counts.items(), key=lambda item: (-item[1].size_bytes, item[0]))

    def _fold(self) -> None:
        ordered = self._ordered()
        self._counts = dict(ordered[:_KEPT_NODES])
        for _, count in ordered[_KEPT_NODES:]:
            self._others.add(count.size_bytes, count.times)
