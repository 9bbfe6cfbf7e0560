"""Which nodes hold which content. Pure: no clock, no network, no locks.

Designed for ten million (digest, node) pairs at about ten bytes each. Every digest and every node has a
number; a node's is called its slot. The holders of a digest are a sorted array of slots (`Postings`), and the
digests of a node are a bitmap of numbers (`_Row`); the two always agree. A removed node is hidden at once,
and `sweep` unlinks its pairs later, one node at a time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pyroaring import BitMap

from heliograph_router.domain.claims import Claims
from heliograph_router.domain.events import TagClaim
from heliograph_router.domain.postings import Postings
from heliograph_shared.digest import Digest
from heliograph_shared.inventory import Inventory, RunningInventory

RandomBelow = Callable[[int], int]
"""Returns a random integer from 0 to the argument - 1, like `random.randrange`."""

_MOST_SLOTS = 1 << 16  # what fits in an array("H")


@dataclass(slots=True)
class _Row:
    """What one node holds; `gone` once it is removed."""

    node: str
    digest_numbers: BitMap = field(default_factory=BitMap)
    tags: dict[str, TagClaim] = field(default_factory=dict)
    inventory: RunningInventory = field(default_factory=RunningInventory)
    gone: bool = False


_EMPTY = RunningInventory().freeze()


class Index:
    """Every change is idempotent. A node exists from its first change until it is removed."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._rows: list[_Row] = []  # by slot; those of removed nodes stay until they are swept
        self._unswept: deque[int] = deque()
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
        tagged: Mapping[str, TagClaim],
        untagged: Iterable[str],
    ) -> None:
        """Record what a node has gained (sizes in bytes) and lost."""
        slot = self._slot(node)
        row = self._rows[slot]
        for digest in removed:
            number = self._postings.numbers.get(digest)
            if number is not None and number in row.digest_numbers:
                self._lose(slot, row, digest, number)
        for reference in untagged:
            self._untag(slot, row, reference)
        if added:
            self._gain(slot, row, added)
        for reference, tag in tagged.items():
            self._tag(slot, row, reference, tag)

    def replace(self, node: str, content: Mapping[Digest, int], tags: Mapping[str, TagClaim]) -> None:
        """Set what a node holds (sizes in bytes), changing only what differs."""
        row = self._rows[self._slot(node)]
        own, postings, slot = row.digest_numbers, self._postings, self._slots[node]
        numbers, size_of = postings.numbers, postings.size_bytes
        kept = {digest for digest in content if digest in numbers and numbers[digest] in own}
        lost = own - BitMap(numbers[digest] for digest in kept)
        self.change(
            node,
            added={
                digest: size
                for digest, size in content.items()
                if digest not in kept or size != size_of(numbers[digest], slot)
            },
            removed=[self._postings.digest(number) for number in lost],
            tagged={reference: tag for reference, tag in tags.items() if row.tags.get(reference) != tag},
            untagged=row.tags.keys() - tags.keys(),
        )

    def remove(self, node: str) -> None:
        """Hide a node and everything it holds, in constant time; `sweep` unlinks its pairs later."""
        slot = self._slots.pop(node, None)
        if slot is None:
            return
        row = self._rows[slot]
        row.gone = True
        self._pairs -= len(row.digest_numbers)
        self._claims.forget_winners()
        self._unswept.append(slot)

    def sweep(self) -> bool:
        """Unlink the pairs of one removed node; False when there is none left."""
        if not self._unswept:
            return False
        slot = self._unswept.popleft()
        row = self._rows[slot]
        for number in row.digest_numbers:
            self._postings.unlink(number, slot)
        for reference in row.tags:
            self._claims.withdraw(slot, reference)
        self._rows[slot] = _Row("", gone=True)
        self._free_slots.append(slot)
        return True

    def holders(self, digest: Digest) -> list[str]:
        """All nodes that hold the digest."""
        number = self._postings.numbers.get(digest)
        return [] if number is None else self._live_nodes(self._postings.slots(number))

    def some_holders(self, digest: Digest, count: int, random_below: RandomBelow) -> list[str]:
        """At most `count` holders. If there are more, a random sample, which may be somewhat smaller."""
        number = self._postings.numbers.get(digest)
        if number is None:
            return []
        slots = self._postings.slots(number)
        if len(slots) <= count:
            return self._live_nodes(slots)
        return self._live_nodes({slots[random_below(len(slots))] for _ in range(count)})

    def holder_count(self, digest: Digest) -> int:
        """How many nodes hold the digest; includes removed nodes that have not been swept yet."""
        number = self._postings.numbers.get(digest)
        return 0 if number is None else len(self._postings.slots(number))

    def holds(self, node: str, digest: Digest) -> bool:
        slot, number = self._slots.get(node), self._postings.numbers.get(digest)
        return slot is not None and number is not None and number in self._rows[slot].digest_numbers

    def size_bytes(self, digest: Digest) -> int:
        """The size that most holders state; 0 when it is not known."""
        number = self._postings.numbers.get(digest)
        return 0 if number is None else self._postings.sizes[number]

    def size_on(self, node: str, digest: Digest) -> int:
        """The size that this holder states."""
        return self._postings.size_bytes(self._postings.numbers[digest], self._slots[node])

    def digest_of(self, reference: str) -> Digest | None:
        """The digest a tag points at, by the rule of bus contract v1; None when no node has the tag."""
        return self._claims.winner(reference)

    def references(self) -> list[str]:
        """All tag references; includes those of removed nodes that have not been swept yet."""
        return self._claims.references()

    def tagged_on(self, reference: str) -> int:
        """How many nodes have the tag."""
        return self._claims.count(reference)

    def inventory(self, node: str) -> Inventory:
        slot = self._slots.get(node)
        return _EMPTY if slot is None else self._rows[slot].inventory.freeze()

    def count_of(self, node: str) -> tuple[int, int]:
        """The number of digests and of tags that a node holds."""
        slot = self._slots.get(node)
        return (0, 0) if slot is None else (len(self._rows[slot].digest_numbers), len(self._rows[slot].tags))

    @property
    def digests(self) -> int:
        """Distinct digests. Like `tags`, includes those of removed nodes that have not been swept yet."""
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

    def _live_nodes(self, slots: Iterable[int]) -> list[str]:
        rows = self._rows
        return [row.node for slot in slots if not (row := rows[slot]).gone]

    def _gain(self, slot: int, row: _Row, added: Mapping[Digest, int]) -> None:
        """Add all digests of a message in one go. A router spends most of its time here."""
        postings, own = self._postings, row.digest_numbers
        numbers, sizes, other_sizes = postings.numbers, postings.sizes, postings.other_sizes
        gained: list[Digest] = []
        new: list[int] = []
        for digest, size_bytes in added.items():
            number = numbers.get(digest)
            if number is None:
                number = postings.add(digest, size_bytes, slot)
            else:
                is_held = number in own
                if not is_held:
                    postings.link(number, slot)
                if size_bytes != sizes[number] or number in other_sizes:
                    postings.state_size(number, slot, size_bytes)
                if is_held:
                    continue
            new.append(number)
            gained.append(digest)
        own.update(new)
        row.inventory.add_digests(gained)
        self._pairs += len(gained)

    def _lose(self, slot: int, row: _Row, digest: Digest, number: int) -> None:
        row.digest_numbers.remove(number)
        row.inventory.remove_digest(digest)
        self._pairs -= 1
        self._postings.unlink(number, slot)

    def _tag(self, slot: int, row: _Row, reference: str, tag: TagClaim) -> None:
        self._untag(slot, row, reference)
        row.tags[reference] = tag
        row.inventory.add_tag(reference, tag.digest)
        self._claims.claim(slot, reference, tag)

    def _untag(self, slot: int, row: _Row, reference: str) -> None:
        tag = row.tags.pop(reference, None)
        if tag is not None:
            row.inventory.remove_tag(reference, tag.digest)
            self._claims.withdraw(slot, reference)
