"""When a router knows enough to say that nobody holds something."""

_SETTLE_S, _SETTLE_LEASES = 15.0, 0.5
_MAX_WAIT_S, _MAX_WAIT_LEASES = 60.0, 2.0
_MIN_IN_SYNC = 0.95
_MAX_SILENCE_S = 3.0  # a message to ourselves that is not back after 2 s was sent within it


class Readiness:
    """Current once nodes have had 15 s to answer the router's hello, and 95% of those heard from are in sync.

    After 60 s the router is current even if fewer are in sync. With leases shorter than 30 s nodes send
    heartbeats more often, so both times shrink with the lease: to half a lease, and two leases.

    The router is ready once it has been current, and stays ready: without the bus, a somewhat old index is
    still better than none. But it is not current while it cannot hear the nodes, and after a lost connection
    it waits for the nodes again, for it may have missed anything.
    """

    def __init__(self, lease_s: float) -> None:
        self._settle_s = min(_SETTLE_S, lease_s * _SETTLE_LEASES)
        self._max_wait_s = min(_MAX_WAIT_S, lease_s * _MAX_WAIT_LEASES)
        self._hello_s: float | None = None
        self._heard_until_s = 0.0
        self._gap: str | None = "not connected to the bus yet"
        self.reason: str | None = self._gap

    def hello_sent(self, now_s: float) -> None:
        """Start the clock. A repeated hello restarts it: the answers to the first may be lost."""
        self._hello_s = now_s

    def link_lost(self) -> None:
        """Messages may be missed until the next hello."""
        self._hello_s, self._gap = None, "the connection to the bus is lost"

    def heard(self, until_s: float) -> None:
        """Everything that nodes published before `until_s` has been handled, unless the link was lost."""
        self._heard_until_s = until_s

    def review(self, now_s: float, *, nodes: int, in_sync: int) -> None:
        """Update `reason`: None when ready, else why not. Call this often."""
        if self._gap is None or self._hello_s is None:
            return
        self._gap = self._wait(now_s - self._hello_s, nodes, in_sync)
        if self.reason is not None:
            self.reason = self._gap

    def is_current(self, now_s: float) -> bool:
        """Whether a miss is authoritative."""
        return self._gap is None and now_s - self._heard_until_s < _MAX_SILENCE_S

    def _wait(self, waited_s: float, nodes: int, in_sync: int) -> str | None:
        if waited_s < self._settle_s:
            return "waiting for the nodes to answer"
        if in_sync < nodes * _MIN_IN_SYNC and waited_s < self._max_wait_s:
            return f"{in_sync} of {nodes} nodes are in sync"
        return None
