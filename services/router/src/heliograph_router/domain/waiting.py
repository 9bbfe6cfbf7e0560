"""Which nodes fetch content from upstream that nobody holds yet, and which wait for a copy.

The first nodes to ask for a digest become its leaders: they are told to go upstream. All others wait in a
queue. Once there are holders, two waiting nodes at a time are sent to each; a node that has received the
content is one more holder. Decisions depend on the current state alone, never on the order of events: a
leader, or a node sent to a holder, keeps its lease until it holds the digest or the lease ends, and its
heartbeats renew the lease while it downloads the digest. So a leader that dies, or whose upstream fails, is
replaced by the next in the queue. Pure: the caller passes the time, in seconds.
"""

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from heliograph_shared.digest import Digest

_NODES_PER_HOLDER = 2  # more would only share its bandwidth; fewer leave it idle between two
_MAX_QUEUES = 10_000


class Turn(Enum):
    """What a node is to do: fetch from peers, fetch from upstream, or wait."""

    PEERS = auto()
    UPSTREAM = auto()
    WAIT = auto()


class HolderIndex(Protocol):
    """Which nodes hold what."""

    def holder_count(self, digest: Digest) -> int: ...

    def holds(self, node: str, digest: Digest) -> bool: ...


OnTurn = Callable[[Digest, str, Turn], None]


@dataclass(slots=True)
class _Queue:
    """The nodes that want one digest.

    `leaders` go upstream and `sent` fetch from a holder, each with the time their lease ends; `waiting` are
    in order of arrival.
    """

    leaders: dict[str, float] = field(default_factory=dict)
    sent: dict[str, float] = field(default_factory=dict)
    waiting: dict[str, None] = field(default_factory=dict)


class Waiting:
    """Queues for at most 10,000 digests at a time; beyond that, every node is told to go upstream."""

    def __init__(self, holders: HolderIndex, *, leaders: int, lease_s: float, on_turn: OnTurn) -> None:
        """`leaders`: how many nodes go upstream for one digest. `on_turn` is called when a wait ends."""
        self._holders, self._leaders, self._lease_s, self._on_turn = holders, leaders, lease_s, on_turn
        self._queues: dict[Digest, _Queue] = {}

    def ask(self, digest: Digest, node: str, now_s: float) -> Turn:
        """What a node that wants the digest is to do. Asking again does not renew its lease."""
        queue = self._queues.get(digest)
        if queue is None:
            if self._holders.holder_count(digest):
                return Turn.PEERS
            if len(self._queues) >= _MAX_QUEUES:
                return Turn.UPSTREAM
            queue = self._queues[digest] = _Queue()
        if node not in queue.leaders and node not in queue.sent:
            queue.waiting[node] = None
        self._advance(digest, queue, now_s)
        if node in queue.waiting:
            return Turn.WAIT
        return Turn.UPSTREAM if node in queue.leaders else Turn.PEERS

    def leave(self, digest: Digest, node: str) -> None:
        """The node no longer waits."""
        queue = self._queues.get(digest)
        if queue is not None:
            queue.waiting.pop(node, None)

    def changed(self, digests: AbstractSet[Digest], now_s: float) -> None:
        """These digests may have new holders."""
        for digest in digests & self._queues.keys() if self._queues else ():
            self._advance(digest, self._queues[digest], now_s)

    def downloading(self, node: str, digests: Iterable[Digest], now_s: float) -> None:
        """The node is downloading these digests: renew its leases."""
        for digest in digests:
            queue = self._queues.get(digest)
            for leases in (queue.leaders, queue.sent) if queue else ():
                if node in leases:
                    leases[node] = now_s + self._lease_s

    def gone(self, node: str, now_s: float) -> None:
        """The node is lost or has left, and is a holder of nothing any more."""
        for digest, queue in list(self._queues.items()):
            if queue.waiting or node in queue.leaders or node in queue.sent:
                queue.leaders.pop(node, None)
                queue.sent.pop(node, None)
                self._advance(digest, queue, now_s)  # it may have been the last holder

    def review(self, now_s: float) -> None:
        """Call this regularly: leases end with time, and not every change is reported through `changed`."""
        for digest, queue in list(self._queues.items()):
            self._advance(digest, queue, now_s)

    def _advance(self, digest: Digest, queue: _Queue, now_s: float) -> None:
        for leases in (queue.leaders, queue.sent):
            for node in [
                node
                for node, until_s in leases.items()
                if until_s <= now_s or self._holders.holds(node, digest)
            ]:
                del leases[node]
        holder_count = self._holders.holder_count(digest)
        while queue.waiting:
            if holder_count:
                leases, most, turn = queue.sent, _NODES_PER_HOLDER * holder_count, Turn.PEERS
            else:
                leases, most, turn = queue.leaders, self._leaders, Turn.UPSTREAM
            if len(leases) >= most:
                return
            node = next(iter(queue.waiting))
            del queue.waiting[node]
            leases[node] = now_s + self._lease_s
            self._on_turn(digest, node, turn)
        if holder_count or not queue.leaders:
            self._queues.pop(digest, None)
