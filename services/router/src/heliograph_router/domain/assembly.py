"""A snapshot put together from its chunks."""

from dataclasses import dataclass, field, replace

from heliograph_router.domain.events import Snapshot, Tag
from heliograph_shared.digest import Digest

MAX_ENTRIES = 500_000
"""Digests and tags of one node. More than that is no node that we would want to hold."""


class TooLarge(Exception):
    """The snapshot has more than `MAX_ENTRIES`."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Number `number`, from 0, of `count`; `part` holds this chunk's share of the content."""

    number: int
    count: int
    part: Snapshot


@dataclass(slots=True)
class Assembly:
    """Takes the chunks of one answer in any order.

    A chunk of a later state begins anew, one of an earlier state is passed over.
    """

    _set: tuple[int, int, int] | None = None
    _numbers: set[int] = field(default_factory=set)
    _content: dict[Digest, int] = field(default_factory=dict)
    _tags: dict[str, Tag] = field(default_factory=dict)

    def add(self, chunk: Chunk) -> Snapshot | None:
        """The whole once it is complete. Raises `TooLarge`."""
        chunk_set = (chunk.part.incarnation, chunk.part.sequence, chunk.count)
        if self._set is None or chunk_set > self._set:
            self._set = chunk_set
            self._numbers, self._content, self._tags = set(), {}, {}
        if chunk_set < self._set or chunk.number >= chunk.count:
            return None
        self._numbers.add(chunk.number)
        self._content.update(chunk.part.content)
        self._tags.update(chunk.part.tags)
        if len(self._content) + len(self._tags) > MAX_ENTRIES:
            raise TooLarge
        if len(self._numbers) < chunk.count:
            return None
        return replace(chunk.part, content=self._content, tags=self._tags)
