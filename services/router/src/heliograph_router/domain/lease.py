"""Who has been heard lately enough to count as alive, on the router's own clock.

A router that cannot hear does not judge: leases stand still while its link to the bus is down and for one
lease after, in which every node that lives is heard again.
"""

import math

from heliograph_router.domain.events import Moment


class Leases:
    """`lease_s` seconds from the last sign of life. The link is down until it is said to be up."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._heard_s: dict[str, float] = {}
        self._frozen_until_s = math.inf

    def renew(self, node: str, at: Moment) -> None:
        self._heard_s.pop(node, None)
        self._heard_s[node] = at.monotonic_s

    def end(self, node: str) -> None:
        self._heard_s.pop(node, None)

    def link_lost(self) -> None:
        self._frozen_until_s = math.inf

    def link_works(self, at: Moment) -> None:
        if self._frozen_until_s == math.inf:
            self._frozen_until_s = at.monotonic_s + self._lease_s

    def frozen(self, at: Moment) -> bool:
        """Whether they stand still."""
        return at.monotonic_s < self._frozen_until_s

    def expired(self, at: Moment) -> list[str]:
        """Nodes whose lease is over, the one that was silent for longest first."""
        if self.frozen(at):
            return []
        over = []
        for node, heard_s in self._heard_s.items():  # in the order of renewal
            if at.monotonic_s - heard_s < self._lease_s:
                break
            over.append(node)
        return over

    def silent(self, at: Moment) -> int:
        """How many were not heard for half a lease, in which each says something at least once."""
        count = 0
        for heard_s in self._heard_s.values():
            if at.monotonic_s - heard_s < self._lease_s / 2:
                break
            count += 1
        return count

    def left_s(self, node: str, at: Moment) -> float:
        """Seconds until the lease ends at the earliest; a whole lease while it cannot be said."""
        if self._frozen_until_s == math.inf:
            return self._lease_s
        ends_s = max(self._heard_s.get(node, 0.0) + self._lease_s, self._frozen_until_s)
        return max(0.0, ends_s - at.monotonic_s)
