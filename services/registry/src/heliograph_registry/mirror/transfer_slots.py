"""How much may be under way at once. Pure."""

from heliograph_registry.mirror.errors import Busy


class TransferSlots:
    def __init__(self, most: int) -> None:
        self._most, self.taken = most, 0

    def take(self) -> None:
        """Raises `Busy` when none is free."""
        if self.taken >= self._most:
            raise Busy(self._most)
        self.taken += 1

    def release(self) -> None:
        self.taken -= 1
