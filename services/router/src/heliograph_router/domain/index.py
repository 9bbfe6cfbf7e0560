"""Which nodes hold which content. Pure: no clock, no network, no locks.

Forward from a digest to its holders and from a tag to what each node says of it; back from a node to its
row, so that a node is taken out by what it held and not by a search. The two always agree.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from heliograph_router.domain.events import Tag
from heliograph_shared.digest import Digest
from heliograph_shared.inventory import Inventory, RunningInventory


@dataclass(slots=True)
class _Row:
    """What one node holds."""

    digests: set[Digest] = field(default_factory=set)
    tags: dict[str, Tag] = field(default_factory=dict)
    inventory: RunningInventory = field(default_factory=RunningInventory)


@dataclass(slots=True)
class _Blob:
    size_bytes: int
    nodes: set[str] = field(default_factory=set)


_EMPTY = RunningInventory().freeze()


class Index:
    """Every change may be repeated without harm; a node exists from its first change to its removal."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._blobs: dict[Digest, _Blob] = {}
        self._claims: dict[str, dict[str, Tag]] = {}
        self._winners: dict[str, Digest] = {}
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
        row = self._rows.get(node)
        if row is None:
            row = self._rows[node] = _Row()
        for digest in removed:
            self._discard(node, row, digest)
        for reference in untagged:
            self._untag(node, row, reference)
        for digest, size_bytes in added.items():
            self._add(node, row, digest, size_bytes)
        for reference, tag in tagged.items():
            self._tag(node, row, reference, tag)

    def replace(self, node: str, content: Mapping[Digest, int], tags: Mapping[str, Tag]) -> None:
        """Make a node's row exactly this, touching only what differs."""
        row = self._rows.get(node) or _Row()
        self.change(
            node,
            added={digest: size for digest, size in content.items() if digest not in row.digests},
            removed=row.digests - content.keys(),
            tagged={reference: tag for reference, tag in tags.items() if row.tags.get(reference) != tag},
            untagged=row.tags.keys() - tags.keys(),
        )

    def remove(self, node: str) -> None:
        """Take out a node and all that it holds."""
        row = self._rows.get(node)
        if row is None:
            return
        for digest in list(row.digests):
            self._discard(node, row, digest)
        for reference in list(row.tags):
            self._untag(node, row, reference)
        del self._rows[node]

    def holders(self, digest: Digest) -> Collection[str]:
        blob = self._blobs.get(digest)
        return blob.nodes if blob else ()

    def size_bytes(self, digest: Digest) -> int:
        """As it was stated last; 0 when it is not known."""
        blob = self._blobs.get(digest)
        return blob.size_bytes if blob else 0

    def digest_of(self, reference: str) -> Digest | None:
        """What a tag points at, by the rule of bus contract v1; None when no node has the tag."""
        claims = self._claims.get(reference)
        if claims is None:
            return None
        winner = self._winners.get(reference)
        if winner is None:
            winner = self._winners[reference] = _winner(claims.values())
        return winner

    def inventory(self, node: str) -> Inventory:
        row = self._rows.get(node)
        return row.inventory.freeze() if row else _EMPTY

    def count_of(self, node: str) -> tuple[int, int]:
        """How many digests and tags a node holds."""
        row = self._rows.get(node)
        return (len(row.digests), len(row.tags)) if row else (0, 0)

    @property
    def digests(self) -> int:
        return len(self._blobs)

    @property
    def pairs(self) -> int:
        return self._pairs

    @property
    def tags(self) -> int:
        return len(self._claims)

    def _add(self, node: str, row: _Row, digest: Digest, size_bytes: int) -> None:
        blob = self._blobs.get(digest)
        if blob is None:
            blob = self._blobs[digest] = _Blob(size_bytes)
        blob.size_bytes = size_bytes
        if node not in blob.nodes:
            blob.nodes.add(node)
            row.digests.add(digest)
            row.inventory.add_digest(digest)
            self._pairs += 1

    def _discard(self, node: str, row: _Row, digest: Digest) -> None:
        blob = self._blobs.get(digest)
        if blob is None or node not in blob.nodes:
            return
        blob.nodes.remove(node)
        row.digests.remove(digest)
        row.inventory.remove_digest(digest)
        self._pairs -= 1
        if not blob.nodes:
            del self._blobs[digest]

    def _tag(self, node: str, row: _Row, reference: str, tag: Tag) -> None:
        self._untag(node, row, reference)
        self._winners.pop(reference, None)
        row.tags[reference] = tag
        row.inventory.add_tag(reference, tag.digest)
        self._claims.setdefault(reference, {})[node] = tag

    def _untag(self, node: str, row: _Row, reference: str) -> None:
        tag = row.tags.pop(reference, None)
        if tag is None:
            return
        row.inventory.remove_tag(reference, tag.digest)
        self._winners.pop(reference, None)
        claims = self._claims[reference]
        del claims[node]
        if not claims:
            del self._claims[reference]


def _winner(claims: Iterable[Tag]) -> Digest:
    """The digest whose earliest tagging is latest, then the higher: a late re-pull of an old one loses."""
    earliest: dict[Digest, int] = {}
    for tag in claims:
        known = earliest.get(tag.digest)
        if known is None or tag.tagged_at_ms < known:
            earliest[tag.digest] = tag.tagged_at_ms
    return max(earliest, key=lambda digest: (earliest[digest], digest))
