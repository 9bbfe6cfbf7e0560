"""Which nodes were heard from recently enough to count as alive, by the router's own clock.

A router that cannot hear expires nobody: leases are frozen while its link to the bus is down, and for one
lease after it is back, in which every live node is heard from again.
"""

import math

from heliograph_router.domain.events import Moment


class Leases:
    """A lease lasts `lease_s` seconds from the node's last message. The link is down until `link_works`."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._heard_s: dict[str, float] = {}  # the longest silent first
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
        """True while no lease can expire."""
        return at.monotonic_s < self._frozen_until_s

    def expired(self, at: Moment) -> list[str]:
        """Nodes whose lease has expired, the longest silent first; none while leases are frozen."""
        if self.frozen(at):
            return []
        expired = []
        for node, heard_s in self._heard_s.items():
            if at.monotonic_s - heard_s < self._lease_s:
                break
            expired.append(node)
        return expired

    def is_silent(self, node: str, at: Moment) -> bool:
        """True if a node has said nothing for half a lease; false while leases are frozen."""
        return not self.frozen(at) and at.monotonic_s - self._heard_s.get(node, 0.0) >= self._lease_s / 2

    def silent(self, at: Moment) -> int:
        """How many nodes have said nothing for half a lease. A live node sends at least one message in it."""
        count = 0
        for heard_s in self._heard_s.values():
            if at.monotonic_s - heard_s < self._lease_s / 2:
                break
            count += 1
        return count

    def left_s(self, node: str, at: Moment) -> float:
        """Seconds until the lease can expire at the earliest; a full lease while the link is down."""
        if self._frozen_until_s == math.inf:
            return self._lease_s
        ends_s = max(self._heard_s.get(node, 0.0) + self._lease_s, self._frozen_until_s)
        return max(0.0, ends_s - at.monotonic_s)
