"""What nodes publish, in the router's own types, and the time at which it arrives.

Types that are built for every message are named tuples: a frozen dataclass takes three times as long to
build.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from heliograph_shared.digest import Digest
from heliograph_shared.inventory import Inventory


class Moment(NamedTuple):
    """Now, on two clocks: `monotonic_s` measures durations, `unix_ms` is compared with nodes' timestamps."""

    monotonic_s: float
    unix_ms: int


@dataclass(frozen=True, slots=True)
class TagClaim:
    """The digest that a tag points at on one node, and since when (milliseconds since the epoch)."""

    digest: Digest
    tagged_at_ms: int


class Changed(NamedTuple):
    """Delta number `sequence`: what a node gained (sizes in bytes) and lost since the previous delta."""

    node: str
    incarnation: int
    sequence: int
    added: Mapping[Digest, int]
    removed: Collection[Digest]
    tagged: Mapping[str, TagClaim]
    untagged: Collection[str]

    @property
    def size(self) -> int:
        """The number of changes in this delta."""
        return len(self.added) + len(self.removed) + len(self.tagged) + len(self.untagged)


@dataclass(frozen=True, slots=True)
class Alive:
    """A heartbeat. `inventory` summarizes the node's content after delta `sequence`.

    The node does not hold the digests in `downloading` yet.
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
    """The node has shut down on purpose."""

    node: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class ReceivedSnapshot:
    """Everything a node holds after delta `sequence`: digests with sizes in bytes, and tags."""

    node: str
    incarnation: int
    sequence: int
    content: Mapping[Digest, int]
    tags: Mapping[str, TagClaim]
    addresses: tuple[str, ...]
    zone: str
    inventory: Inventory


NodeEvent = Changed | Alive | Left | ReceivedSnapshot
