"""When a router that has just started knows enough to say that nobody holds something."""

_SETTLE_S, _SETTLE_LEASES = 15.0, 0.5
_MAX_WAIT_S, _MAX_WAIT_LEASES = 60.0, 2.0
_MIN_IN_SYNC = 0.95


class Readiness:
    """Ready once nodes have had 15 s to answer the router's hello, and 95% of those heard from are in sync.

    After 60 s the router is ready even if fewer are in sync. With leases shorter than 30 s nodes send
    heartbeats more often, so both times shrink with the lease: to half a lease, and two leases.
    A router that is ready stays ready: without the bus, a somewhat old index is still better than none.
    """

    def __init__(self, lease_s: float) -> None:
        self._settle_s = min(_SETTLE_S, lease_s * _SETTLE_LEASES)
        self._max_wait_s = min(_MAX_WAIT_S, lease_s * _MAX_WAIT_LEASES)
        self._hello_s: float | None = None
        self.reason: str | None = "not connected to the bus yet"

    def hello_sent(self, now_s: float) -> None:
        """Start the clock. A repeated hello restarts it: the answers to the first may be lost."""
        self._hello_s = now_s

    def review(self, now_s: float, *, nodes: int, in_sync: int) -> None:
        """Update `reason`: None when ready, else why not."""
        if self.reason is None or self._hello_s is None:
            return
        waited_s = now_s - self._hello_s
        if waited_s < self._settle_s:
            self.reason = "waiting for the nodes to answer"
        elif in_sync < nodes * _MIN_IN_SYNC and waited_s < self._max_wait_s:
            self.reason = f"{in_sync} of {nodes} nodes are in sync"
        else:
            self.reason = None
