"""Who fetches from upstream what nobody holds yet, and who waits for a copy of it.

The first to ask for a digest are told to go upstream: its leaders. All others stand in a queue, and as soon
as there are copies two at a time are sent to each of them; every node that has got it is one copy more. What
counts is the state, never the order of events: who leads or was sent to a copy keeps its place until it holds
the digest or its lease is over, and the heartbeats of a node that downloads it renew that. A leader that
dies, or whose own upstream fails, is so replaced by the next in the queue. Pure: the caller says what time
it is, in seconds.
"""

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from heliograph_shared.digest import Digest

_AT_ONCE = 2  # nodes that one copy serves: more would only share its line, fewer leave it idle between two
_MOST_QUEUES = 10_000


class Turn(Enum):
    PEERS = auto()
    UPSTREAM = auto()
    WAIT = auto()


class Holders(Protocol):
    """Which nodes hold what."""

    def holder_count(self, digest: Digest) -> int: ...

    def holds(self, node: str, digest: Digest) -> bool: ...


OnTurn = Callable[[Digest, str, Turn], None]


@dataclass(slots=True)
class _Queue:
    """Nodes: `leaders` and those that were `sent` to a copy, until when; `waiting`, in order of arrival."""

    leaders: dict[str, float] = field(default_factory=dict)
    sent: dict[str, float] = field(default_factory=dict)
    waiting: dict[str, None] = field(default_factory=dict)


class Waiting:
    """At most 10,000 digests are led at a time; beyond them everybody goes upstream."""

    def __init__(self, holders: Holders, *, leaders: int, lease_s: float, on_turn: OnTurn) -> None:
        """`leaders`: how many go upstream for one digest. `on_turn` is told when a node's wait is over."""
        self._holders, self._leaders, self._lease_s, self._on_turn = holders, leaders, lease_s, on_turn
        self._queues: dict[Digest, _Queue] = {}

    def ask(self, digest: Digest, node: str, now_s: float) -> Turn:
        """What a node that wants the digest is to do. Asking again does not prolong its lease."""
        queue = self._queues.get(digest)
        if queue is None:
            if self._holders.holder_count(digest):
                return Turn.PEERS
            if len(self._queues) >= _MOST_QUEUES:
                return Turn.UPSTREAM
            queue = self._queues[digest] = _Queue()
        if node not in queue.leaders and node not in queue.sent:
            queue.waiting[node] = None
        self._advance(digest, queue, now_s)
        if node in queue.waiting:
            return Turn.WAIT
        return Turn.UPSTREAM if node in queue.leaders else Turn.PEERS

    def leave(self, digest: Digest, node: str) -> None:
        """The node waits no longer."""
        queue = self._queues.get(digest)
        if queue is not None:
            queue.waiting.pop(node, None)

    def changed(self, digests: AbstractSet[Digest], now_s: float) -> None:
        """Somebody may hold these now."""
        for digest in digests & self._queues.keys() if self._queues else ():
            self._advance(digest, self._queues[digest], now_s)

    def downloading(self, node: str, digests: Iterable[Digest], now_s: float) -> None:
        """The node is at work on these."""
        for digest in digests:
            queue = self._queues.get(digest)
            for places in (queue.leaders, queue.sent) if queue else ():
                if node in places:
                    places[node] = now_s + self._lease_s

    def gone(self, node: str, now_s: float) -> None:
        """The node is lost or has left."""
        for digest, queue in list(self._queues.items()):
            if node in queue.leaders or node in queue.sent:
                queue.leaders.pop(node, None)
                queue.sent.pop(node, None)
                self._advance(digest, queue, now_s)

    def review(self, now_s: float) -> None:
        """To be called now and then: leases end, and not every change is told of."""
        for digest, queue in list(self._queues.items()):
            self._advance(digest, queue, now_s)

    def _advance(self, digest: Digest, queue: _Queue, now_s: float) -> None:
        for places in (queue.leaders, queue.sent):
            for node in [
                node
                for node, until_s in places.items()
                if until_s <= now_s or self._holders.holds(node, digest)
            ]:
                del places[node]
        copies = self._holders.holder_count(digest)
        while queue.waiting:
            if copies:
                places, most, turn = queue.sent, _AT_ONCE * copies, Turn.PEERS
            else:
                places, most, turn = queue.leaders, self._leaders, Turn.UPSTREAM
            if len(places) >= most:
                return
            node = next(iter(queue.waiting))
            del queue.waiting[node]
            places[node] = now_s + self._lease_s
            self._on_turn(digest, node, turn)
        if copies or not queue.leaders:
            self._queues.pop(digest, None)
