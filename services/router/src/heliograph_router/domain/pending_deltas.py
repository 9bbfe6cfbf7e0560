"""Deltas of one node that cannot be applied yet, because an earlier one is missing."""

from heliograph_router.domain.events import Changed

_MAX_DELTAS = 256
_MAX_CHANGES = 20_000


class PendingDeltas:
    """Bounded. When full, the lowest sequence numbers are dropped: a snapshot most likely covers them."""

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
        """Remove and return the delta with that sequence number, if it is here."""
        delta = self._deltas.pop(sequence, None)
        if delta is not None:
            self._changes -= delta.size
        return delta

    def drop_through(self, sequence: int) -> None:
        """Drop all deltas up to and including `sequence`."""
        for pending in [pending for pending in self._deltas if pending <= sequence]:
            self.take(pending)
