"""Deltas of one node that cannot be applied yet."""

from heliograph_router.domain.events import Changed

_MAX_DELTAS = 256
_MAX_CHANGES = 20_000


class HeldDeltas:
    """Bounded: the lowest go first, for a snapshot is more likely to be past them."""

    def __init__(self) -> None:
        self._deltas: dict[int, Changed] = {}
        self._changes = 0

    def __len__(self) -> int:
        return len(self._deltas)

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._deltas

    def put(self, delta: Changed) -> None:
        self._deltas[delta.sequence] = delta
        self._changes += delta.size
        while len(self._deltas) > _MAX_DELTAS or self._changes > _MAX_CHANGES:
            self.take(min(self._deltas))

    def take(self, sequence: int) -> Changed | None:
        delta = self._deltas.pop(sequence, None)
        if delta is not None:
            self._changes -= delta.size
        return delta

    def forget(self, up_to: int) -> None:
        for sequence in [held for held in self._deltas if held <= up_to]:
            self.take(sequence)
