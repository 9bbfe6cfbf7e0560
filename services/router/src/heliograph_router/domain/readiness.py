"""When a router that has started may say of something that nobody has it."""

_SETTLE_S, _SETTLE_LEASES = 15.0, 0.5
_PATIENCE_S, _PATIENCE_LEASES = 60.0, 2.0
_ENOUGH = 0.95


class Readiness:
    """Ready once nodes had the time to answer its hello and 95% of those heard are in sync.

    That time is 15 s, and after 60 s some nodes that will not come into sync are no longer waited for.
    With leases shorter than 30 s, and nodes that speak up so much more often, both are shorter alike:
    half a lease and two. What is ready stays so: without the bus an index of a while ago is still
    better than none.
    """

    def __init__(self, lease_s: float) -> None:
        self._settle_s = min(_SETTLE_S, lease_s * _SETTLE_LEASES)
        self._patience_s = min(_PATIENCE_S, lease_s * _PATIENCE_LEASES)
        self._hello_s: float | None = None
        self.reason: str | None = "not connected to the bus yet"

    def hello_sent(self, now_s: float) -> None:
        """From now on nodes answer. One sent again counts anew: the answers to the first may be lost."""
        self._hello_s = now_s

    def review(self, now_s: float, *, nodes: int, in_sync: int) -> None:
        """Bring `reason` up to date: None when ready, else why not."""
        if self.reason is None or self._hello_s is None:
            return
        waited_s = now_s - self._hello_s
        if waited_s < self._settle_s:
            self.reason = "waiting for the nodes to answer"
        elif in_sync < nodes * _ENOUGH and waited_s < self._patience_s:
            self.reason = f"{in_sync} of {nodes} nodes are in sync"
        else:
            self.reason = None
