"""Which slots hold which digest, at two bytes a pair."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence

from heliograph_shared.digest import Digest


class Postings:
    """A digest has a number while a slot holds it; its slots are kept in order.

    `numbers` is for look-ups; `sizes` are in bytes, by number. A single slot, which is what most digests have
    at first and many for good, is kept as a number: an array for it takes longer to make than all the rest.
    """

    def __init__(self) -> None:
        self.numbers: dict[Digest, int] = {}
        self.sizes = array("q")
        self._digests: list[Digest | None] = []
        self._slots: list[array[int] | int] = []
        self._free: list[int] = []

    def slots(self, number: int) -> Sequence[int]:
        slots = self._slots[number]
        return (slots,) if isinstance(slots, int) else slots

    def digest(self, number: int) -> Digest:
        """Of a number in use."""
        digest = self._digests[number]
        assert digest is not None
        return digest

    def add(self, digest: Digest, size_bytes: int, slot: int) -> int:
        """The number of a digest that has none, with its first slot."""
        if self._free:
            number = self._free.pop()
            self._digests[number] = digest
            self.sizes[number] = size_bytes
            self._slots[number] = slot
        else:
            number = len(self._digests)
            self._digests.append(digest)
            self.sizes.append(size_bytes)
            self._slots.append(slot)
        self.numbers[digest] = number
        return number

    def link(self, number: int, slot: int) -> None:
        """Once for each pair."""
        slots = self._slots[number]
        if isinstance(slots, int):
            self._slots[number] = array("H", sorted((slots, slot)))
        else:
            slots.insert(bisect_left(slots, slot), slot)

    def unlink(self, number: int, slot: int) -> None:
        """Of a pair that was linked; with the last one the number becomes free."""
        slots = self._slots[number]
        if isinstance(slots, int):
            del self.numbers[self.digest(number)]
            self._digests[number] = None
            self._free.append(number)
            return
        del slots[bisect_left(slots, slot)]
        if len(slots) == 1:
            self._slots[number] = slots[0]
