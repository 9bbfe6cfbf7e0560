"""Which slots hold which digest, at two bytes a pair. A slot is a node's number in the index.

Every slot states a size for each of its digests. The size that most slots state is stored once per digest,
others per pair, because nearly all slots agree.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from heliograph_shared.digest import Digest


class Postings:
    """A digest has a number as long as a slot holds it. Its slots are sorted.

    `numbers` is for look-ups; `sizes` are in bytes, indexed by number, as most slots state them;
    `other_sizes` has those of the other slots by number and slot. Most digests start with a single slot, and
    many never get another: it is stored as a plain number, because building an array for it would take longer
    than everything else.
    """

    def __init__(self) -> None:
        self.numbers: dict[Digest, int] = {}
        self.sizes = array("q")
        self.other_sizes: dict[int, dict[int, int]] = {}
        self._digests: list[Digest | None] = []
        self._slots: list[array[int] | int] = []
        self._free: list[int] = []

    def slots(self, number: int) -> Sequence[int]:
        slots = self._slots[number]
        return (slots,) if isinstance(slots, int) else slots

    def digest(self, number: int) -> Digest:
        """The digest with that number, which must be in use."""
        digest = self._digests[number]
        assert digest is not None
        return digest

    def size_bytes(self, number: int, slot: int) -> int:
        """The size that a slot of the digest states."""
        others = self.other_sizes.get(number)
        return self.sizes[number] if others is None else others.get(slot, self.sizes[number])

    def state_size(self, number: int, slot: int, size_bytes: int) -> None:
        """Set the size that a slot of the digest states."""
        others = self.other_sizes.setdefault(number, {})
        if size_bytes == self.sizes[number]:
            others.pop(slot, None)
        else:
            others[slot] = size_bytes
        self._store_commonest_once(number, others)

    def add(self, digest: Digest, size_bytes: int, slot: int) -> int:
        """Give a new digest a number and its first slot; returns the number."""
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
        """Add a slot to a digest that does not have it yet."""
        slots = self._slots[number]
        if isinstance(slots, int):
            self._slots[number] = array("H", sorted((slots, slot)))
        else:
            slots.insert(bisect_left(slots, slot), slot)

    def unlink(self, number: int, slot: int) -> None:
        """Remove a slot that the digest has. Removing the last one frees the number."""
        slots, others = self._slots[number], self.other_sizes.get(number)
        if isinstance(slots, int):
            del self.numbers[self.digest(number)]
            self._digests[number] = None
            self._free.append(number)
            self.other_sizes.pop(number, None)
            return
        del slots[bisect_left(slots, slot)]
        if len(slots) == 1:
            self._slots[number] = slots[0]
        if others is not None:
            others.pop(slot, None)
            self._store_commonest_once(number, others)

    def _store_commonest_once(self, number: int, others: dict[int, int]) -> None:
        """Exchange the common size for another that more slots state: only a minority costs memory."""
        slots = self.slots(number)
        agreeing = len(slots) - len(others)
        if len(others) > agreeing:
            ((commonest, count),) = Counter(others.values()).most_common(1)
            if count > agreeing:
                stated = {slot: self.size_bytes(number, slot) for slot in slots}
                self.sizes[number] = commonest
                others.clear()
                others.update({slot: size for slot, size in stated.items() if size != commonest})
        if not others:
            self.other_sizes.pop(number, None)
