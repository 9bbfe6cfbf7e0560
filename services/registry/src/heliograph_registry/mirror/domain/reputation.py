"""Which peers are asked last, because they failed lately. Pure: the caller passes the time in seconds."""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice

from heliograph_registry.mirror.domain.peer import Peer

_FAILED_S = 30.0
_WRONG_BYTES_S = 3600.0
_MOST_NODES = 1024
_MOST_LISTED = 16


class Reputation:
    """Remembers for at most 1,024 nodes until when they are asked last."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def failed(self, node: str, now: float) -> None:
        """The node did not deliver: ask it last for 30 s."""
        self._ask_last_until(node, now + _FAILED_S)

    def sent_wrong_bytes(self, node: str, now: float) -> None:
        """The node sent wrong bytes: ask it last for an hour."""
        self._ask_last_until(node, now + _WRONG_BYTES_S)

    def delivered(self, node: str, now: float) -> None:
        """The node delivered: forget its failures, but not that it sent wrong bytes."""
        if self._until.get(node, 0.0) <= now + _FAILED_S:
            self._until.pop(node, None)

    def is_last(self, node: str, now: float) -> bool:
        return self._until.get(node, now) > now

    def left_s(self, now: float) -> dict[str, float]:
        """The nodes that are asked last, and for how many more seconds."""
        return {node: until - now for node, until in self._until.items() if until > now}

    def last(self, now: float) -> tuple[str, ...]:
        """The nodes that are asked last: at most 16, the latest first."""
        asked_last = (node for node in reversed(self._until) if self.is_last(node, now))
        return tuple(islice(asked_last, _MOST_LISTED))

    def order(self, peers: Iterable[Peer], now: float) -> tuple[Peer, ...]:
        """The same peers, those that are asked last at the end; otherwise the order stays."""
        return tuple(sorted(peers, key=lambda peer: self.is_last(peer.node, now)))

    def _ask_last_until(self, node: str, until: float) -> None:
        self._until[node] = max(until, self._until.get(node, 0.0))
        self._until.move_to_end(node)
        while len(self._until) > _MOST_NODES:
            self._until.popitem(last=False)
