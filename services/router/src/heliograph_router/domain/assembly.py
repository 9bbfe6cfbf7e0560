"""Puts a snapshot together from its chunks."""

from dataclasses import dataclass, field, replace

from heliograph_router.domain.events import ReceivedSnapshot, TagClaim
from heliograph_shared.digest import Digest

MAX_ENTRIES = 500_000
"""Most digests and tags of one node; a real node has far fewer."""


class TooLarge(Exception):
    """The snapshot has more than `MAX_ENTRIES`."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Chunk `number`, counted from 0, of `count`. `part` is a snapshot with only this chunk's content."""

    number: int
    count: int
    part: ReceivedSnapshot


@dataclass(slots=True)
class Assembly:
    """Takes the chunks of one answer in any order.

    A chunk of a later state starts the assembly over; a chunk of an earlier state is ignored.
    """

    _state: tuple[int, int, int] | None = None
    _numbers: set[int] = field(default_factory=set)
    _content: dict[Digest, int] = field(default_factory=dict)
    _tags: dict[str, TagClaim] = field(default_factory=dict)

    def add(self, chunk: Chunk) -> ReceivedSnapshot | None:
        """Return the whole snapshot once it is complete, None before. Raises `TooLarge`."""
        state = (chunk.part.incarnation, chunk.part.sequence, chunk.count)
        if self._state is None or state > self._state:
            self._state = state
            self._numbers, self._content, self._tags = set(), {}, {}
        if state < self._state or chunk.number >= chunk.count:
            return None
        self._numbers.add(chunk.number)
        self._content.update(chunk.part.content)
        self._tags.update(chunk.part.tags)
        if len(self._content) + len(self._tags) > MAX_ENTRIES:
            raise TooLarge
        if len(self._numbers) < chunk.count:
            return None
        return replace(chunk.part, content=self._content, tags=self._tags)
