"""What the use cases need from outside the process."""

from typing import Protocol

from heliograph_router.domain.cluster import NeedSnapshot
from heliograph_router.domain.events import ReceivedSnapshot


class Snapshots(Protocol):
    """Asks nodes for everything they hold."""

    async def pull(self, need: NeedSnapshot) -> ReceivedSnapshot:
        """The node's complete snapshot, of the highest incarnation that is known or a later one.

        Raises `SnapshotUnavailable`, at the latest after 2 s in which nothing arrives.
        """
        ...


class BusLink(Protocol):
    """The router's connection to the bus."""

    async def round_trip(self) -> float | None:
        """Seconds that a message to ourselves took; None when it was not back within 2 s.

        Once it is back, the router has received everything that nodes published before it was sent.
        """
        ...
