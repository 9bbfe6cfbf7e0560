"""Which nodes hold which content. Pure: no clock, no network, no locks.

Made for ten million (digest, node) pairs at some ten bytes each: a digest has a number, its holders are a
sorted array of slots of nodes, and the way back from a node is a bitmap of numbers. The two always agree. A
node that is removed is out of sight at once; its pairs are unlinked by `sweep`, a node at a time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pyroaring import BitMap

from heliograph_router.domain.claims import Claims
from heliograph_router.domain.events import Tag
from heliograph_router.domain.postings import Postings
from heliograph_shared.digest import Digest
from heliograph_shared.inventory import Inventory, RunningInventory

Below = Callable[[int], int]
"""A random number from 0 to one less than the argument."""

_MOST_SLOTS = 1 << 16  # what an array("H") holds


@dataclass(slots=True)
class _Row:
    """What one node holds."""

    node: str
    held: BitMap = field(default_factory=BitMap)
    tags: dict[str, Tag] = field(default_factory=dict)
    inventory: RunningInventory = field(default_factory=RunningInventory)
    gone: bool = False


_EMPTY = RunningInventory().freeze()


class Index:
    """Every change may be repeated without harm; a node exists from its first change to its removal."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._rows: list[_Row] = []  # by slot, with those that are gone until they are swept
        self._gone: deque[int] = deque()
        self._free_slots: list[int] = []
        self._postings = Postings()
        self._claims = Claims(lambda slot: not self._rows[slot].gone)
        self._pairs = 0

    def change(
        self,
        node: str,
        *,
        added: Mapping[Digest, int],
        removed: Iterable[Digest],
        tagged: Mapping[str, Tag],
        untagged: Iterable[str],
    ) -> None:
        """Take note of what a node has gained (sizes in bytes) and lost."""
        slot = self._slot(node)
        row = self._rows[slot]
        for digest in removed:
            number = self._postings.numbers.get(digest)
            if number is not None and number in row.held:
                self._lose(slot, row, digest, number)
        for reference in untagged:
            self._untag(slot, row, reference)
        if added:
            self._gain(slot, row, added)
        for reference, tag in tagged.items():
            self._tag(slot, row, reference, tag)

    def replace(self, node: str, content: Mapping[Digest, int], tags: Mapping[str, Tag]) -> None:
        """Make a node's row exactly this, touching only what differs."""
        row = self._rows[self._slot(node)]
        held, numbers = row.held, self._postings.numbers
        kept = {digest for digest in content if digest in numbers and numbers[digest] in held}
        lost = held - BitMap(numbers[digest] for digest in kept)
        self.change(
            node,
            added={digest: size for digest, size in content.items() if digest not in kept},
            removed=[self._postings.digest(number) for number in lost],
            tagged={reference: tag for reference, tag in tags.items() if row.tags.get(reference) != tag},
            untagged=row.tags.keys() - tags.keys(),
        )

    def remove(self, node: str) -> None:
        """Put a node and all that it holds out of sight, in constant time; `sweep` clears up behind it."""
        slot = self._slots.pop(node, None)
        if slot is None:
            return
        row = self._rows[slot]
        row.gone = True
        self._pairs -= len(row.held)
        self._claims.forget_winners()
        self._gone.append(slot)

    def sweep(self) -> bool:
        """Unlink what one node held that is gone; False when there was none."""
        if not self._gone:
            return False
        slot = self._gone.popleft()
        row = self._rows[slot]
        for number in row.held:
            self._postings.unlink(number, slot)
        for reference in row.tags:
            self._claims.withdraw(slot, reference)
        self._rows[slot] = _Row("", gone=True)
        self._free_slots.append(slot)
        return True

    def holders(self, digest: Digest) -> list[str]:
        """All nodes that hold it."""
        number = self._postings.numbers.get(digest)
        return [] if number is None else self._seen(self._postings.slots(number))

    def some_holders(self, digest: Digest, count: int, below: Below) -> list[str]:
        """At most `count` of them; of more, a random choice that may be a few less."""
        number = self._postings.numbers.get(digest)
        if number is None:
            return []
        slots = self._postings.slots(number)
        if len(slots) <= count:
            return self._seen(slots)
        return self._seen({slots[below(len(slots))] for _ in range(count)})

    def holder_count(self, digest: Digest) -> int:
        """How many nodes hold it, with those that are only out of sight until they have been swept."""
        number = self._postings.numbers.get(digest)
        return 0 if number is None else len(self._postings.slots(number))

    def holds(self, node: str, digest: Digest) -> bool:
        slot, number = self._slots.get(node), self._postings.numbers.get(digest)
        return slot is not None and number is not None and number in self._rows[slot].held

    def size_bytes(self, digest: Digest) -> int:
        """As it was stated last; 0 when it is not known."""
        number = self._postings.numbers.get(digest)
        return 0 if number is None else self._postings.sizes[number]

    def digest_of(self, reference: str) -> Digest | None:
        """What a tag points at, by the rule of bus contract v1; None when no node has the tag."""
        return self._claims.winner(reference)

    def references(self) -> list[str]:
        """All tags, with those that are only out of sight until they have been swept."""
        return self._claims.references()

    def tagged_on(self, reference: str) -> int:
        """How many nodes have the tag."""
        return self._claims.count(reference)

    def inventory(self, node: str) -> Inventory:
        slot = self._slots.get(node)
        return _EMPTY if slot is None else self._rows[slot].inventory.freeze()

    def count_of(self, node: str) -> tuple[int, int]:
        """How many digests and tags a node holds."""
        slot = self._slots.get(node)
        return (0, 0) if slot is None else (len(self._rows[slot].held), len(self._rows[slot].tags))

    @property
    def digests(self) -> int:
        """Distinct ones; like `tags` it counts what is only out of sight until it has been swept."""
        return len(self._postings.numbers)

    @property
    def pairs(self) -> int:
        return self._pairs

    @property
    def tags(self) -> int:
        return len(self._claims)

    def _slot(self, node: str) -> int:
        slot = self._slots.get(node)
        if slot is not None:
            return slot
        if not self._free_slots and len(self._rows) == _MOST_SLOTS:
            self.sweep()
        if self._free_slots:
            slot = self._free_slots.pop()
            self._rows[slot] = _Row(node)
        else:
            slot = len(self._rows)
            self._rows.append(_Row(node))
        self._slots[node] = slot
        return slot

    def _seen(self, slots: Iterable[int]) -> list[str]:
        rows = self._rows
        return [row.node for slot in slots if not (row := rows[slot]).gone]

    def _gain(self, slot: int, row: _Row, added: Mapping[Digest, int]) -> None:
        """Where most of a router's time goes: at once for all that a message adds."""
        postings, held = self._postings, row.held
        numbers, sizes = postings.numbers, postings.sizes
        gained: list[Digest] = []
        new: list[int] = []
        for digest, size_bytes in added.items():
            number = numbers.get(digest)
            if number is None:
                number = postings.add(digest, size_bytes, slot)
            else:
                sizes[number] = size_bytes
                if number in held:
                    continue
                postings.link(number, slot)
            new.append(number)
            gained.append(digest)
        held.update(new)
        row.inventory.add_digests(gained)
        self._pairs += len(gained)

    def _lose(self, slot: int, row: _Row, digest: Digest, number: int) -> None:
        row.held.remove(number)
        row.inventory.remove_digest(digest)
        self._pairs -= 1
        self._postings.unlink(number, slot)

    def _tag(self, slot: int, row: _Row, reference: str, tag: Tag) -> None:
        self._untag(slot, row, reference)
        row.tags[reference] = tag
        row.inventory.add_tag(reference, tag.digest)
        self._claims.claim(slot, reference, tag)

    def _untag(self, slot: int, row: _Row, reference: str) -> None:
        tag = row.tags.pop(reference, None)
        if tag is not None:
            row.inventory.remove_tag(reference, tag.digest)
            self._claims.withdraw(slot, reference)
