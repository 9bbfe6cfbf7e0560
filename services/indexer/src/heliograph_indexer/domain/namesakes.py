"""Whether another indexer announces content under this node's name. Pure: the caller passes the time.

Routers tell both indexers of each other, with each request for a snapshot that is due to a stale heartbeat.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from heliograph_indexer.domain.checks import IndexerCheck
from heliograph_shared.findings import Finding

_KEEP_S = 60.0
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Namesake:
    """Another indexer, and the addresses of its registry as far as they are known."""

    incarnation: int
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownNode:
    """What a router knows of this node: the indexer it follows, and a second one that it ignores.

    The incarnation is 0 if it follows none.
    """

    followed: Namesake
    ignored: Namesake | None = None


class Namesakes:
    """The other indexer that a router told of last, for a minute."""

    def __init__(self) -> None:
        self._last: tuple[Namesake, float] | None = None

    def note(self, known: KnownNode, own_incarnation: int, now_s: float) -> None:
        """Note what a router knows, after this indexer has decided to keep its incarnation."""
        if known.ignored is not None and known.ignored.incarnation != own_incarnation:
            self._last = known.ignored, now_s
        elif known.followed.incarnation > own_incarnation:
            self._last = known.followed, now_s

    def current(self, now_s: float) -> Namesake | None:
        if self._last is None or now_s - self._last[1] >= _KEEP_S:
            return None
        return self._last[0]


def examine_name(node: str, own_incarnation: int, other: Namesake | None) -> Iterator[Finding]:
    if other is None:
        return
    where = ", ".join(other.addresses) or "an unknown address"
    yield Finding(
        IndexerCheck.NODE_NAME,
        "error",
        "another indexer uses this node's name; routers follow the one that started later, and other nodes "
        "find nothing that only the other one announces",
        f"node name {node}: this indexer started {_started(own_incarnation)}, the other one "
        f"{_started(other.incarnation)}, with its registry at {where}",
        "set HELIOGRAPH_NODE_NAME of each indexer to a name of its own (in the cluster: the node's), and run "
        "one indexer for each node",
    )


def _started(incarnation: int) -> str:
    try:
        return f"at {datetime.fromtimestamp(incarnation // _NS, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):
        return f"with incarnation {incarnation}"
