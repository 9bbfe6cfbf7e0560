"""Which peers are asked last. Pure: the caller says what time it is, in seconds."""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice

from heliograph_registry.mirror.domain.peer import Peer

_FAILED_S = 30.0
_LIED_S = 3600.0
_MOST_NODES = 1024
_MOST_TOLD = 16


class Reputation:
    """Remembers of at most 1,024 nodes until when they are asked last."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def failed(self, node: str, now: float) -> None:
        """It did not deliver: last for half a minute."""
        self._hold(node, now + _FAILED_S)

    def sent_wrong_bytes(self, node: str, now: float) -> None:
        """It sent wrong bytes: last for an hour."""
        self._hold(node, now + _LIED_S)

    def delivered(self, node: str, now: float) -> None:
        """Ends what a failure began, and not what wrong bytes did."""
        if self._until.get(node, 0.0) <= now + _FAILED_S:
            self._until.pop(node, None)

    def is_last(self, node: str, now: float) -> bool:
        return self._until.get(node, now) > now

    def left_s(self, now: float) -> dict[str, float]:
        """For how many seconds more each is asked last, of those that are."""
        return {node: until - now for node, until in self._until.items() if until > now}

    def last(self, now: float) -> tuple[str, ...]:
        """Those that are asked last, at most 16, the latest first."""
        lasting = (node for node in reversed(self._until) if self.is_last(node, now))
        return tuple(islice(lasting, _MOST_TOLD))

    def order(self, peers: Iterable[Peer], now: float) -> tuple[Peer, ...]:
        """Those in good standing first, each group in the order that it came in."""
        return tuple(sorted(peers, key=lambda peer: self.is_last(peer.node, now)))

    def _hold(self, node: str, until: float) -> None:
        self._until[node] = max(until, self._until.get(node, 0.0))
        self._until.move_to_end(node)
        while len(self._until) > _MOST_NODES:
            self._until.popitem(last=False)
