"""What nodes say of themselves, and the moment at which it is heard: the one vocabulary of bus and index.

What is made for every message is a named tuple: a frozen dataclass takes three times as long to make.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from heliograph_shared.digest import Digest
from heliograph_shared.inventory import Inventory


class Moment(NamedTuple):
    """Now, on two clocks: `monotonic_s` for how long, `unix_ms` against what nodes say of their own."""

    monotonic_s: float
    unix_ms: int


@dataclass(frozen=True, slots=True)
class Tag:
    """What a tag points at on one node, and since when (milliseconds since the epoch)."""

    digest: Digest
    tagged_at_ms: int


class Changed(NamedTuple):
    """Delta number `sequence`: what a node's store has gained and lost since the one before."""

    node: str
    incarnation: int
    sequence: int
    added: Mapping[Digest, int]
    removed: Collection[Digest]
    tagged: Mapping[str, Tag]
    untagged: Collection[str]

    @property
    def size(self) -> int:
        """How many changes there are in it."""
        return len(self.added) + len(self.removed) + len(self.tagged) + len(self.untagged)


@dataclass(frozen=True, slots=True)
class Alive:
    """The node lives; `inventory` is of the state that it published up to `sequence`.

    What it is `downloading` it does not hold yet.
    """

    node: str
    incarnation: int
    sequence: int
    addresses: tuple[str, ...]
    zone: str
    inventory: Inventory
    downloading: Collection[Digest] = ()


@dataclass(frozen=True, slots=True)
class Left:
    """The node has stopped on purpose."""

    node: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a node has published up to `sequence`."""

    node: str
    incarnation: int
    sequence: int
    content: Mapping[Digest, int]
    tags: Mapping[str, Tag]
    addresses: tuple[str, ...]
    zone: str
    inventory: Inventory


NodeEvent = Changed | Alive | Left | Snapshot
