"""What keeping an index needs from outside."""

from typing import Protocol

from heliograph_router.domain.events import Snapshot


class Snapshots(Protocol):
    """Asks nodes for all that they hold."""

    async def pull(self, node: str, incarnation: int) -> Snapshot:
        """The node's answer, in full; `incarnation` is the highest one known of it.

        Raises `SnapshotUnavailable`, at the latest when nothing has come for 2 s.
        """
        ...


class Link(Protocol):
    """The router's own way to the bus."""

    async def round_trip(self) -> float | None:
        """Seconds that a message to ourselves took; what was sent before has then been heard.

        None when it did not come back within 2 s.
        """
        ...
