"""The latest requests to this registry and how each was answered. Pure, and bounded.

Every request adds an entry, so adding one does as little as possible.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import FromPeer, Source
from heliograph_registry.mirror.domain.target import InvalidTarget, Ping, Target
from heliograph_registry.mirror.domain.traffic import Traffic

_MOST_ENTRIES = 256


class LoggedRequest(NamedTuple):
    """One request that has been answered.

    `at` is when it ended, in seconds since the epoch. `peer` is the node whose registry sent it, empty for
    any other client. `reason` is None if it was served. `sent_by` has the nodes that a relayed blob came
    from, and the bytes of each; after a takeover they are several, and `source` is the first of them.
    """

    at: float
    method: str
    target: Target | InvalidTarget
    path: str
    peer: str
    status: int
    source: Source
    reason: Reason | None
    sent_bytes: int
    seconds: float
    trace_id: str
    sent_by: tuple[tuple[str, int], ...] = ()

    @property
    def served(self) -> bool:
        return 200 <= self.status < 300

    @property
    def senders(self) -> tuple[tuple[str, int], ...]:
        """The nodes that the bytes came from, and the bytes of each; empty if no other node sent any."""
        if not isinstance(self.source, FromPeer):
            return ()
        return self.sent_by or ((self.source.node, self.sent_bytes),)

    @property
    def is_pull(self) -> bool:
        """Whether a client, not a peer, asked for content."""
        content = not isinstance(self.target, Ping | InvalidTarget)
        return content and not self.peer and self.status != 405


class RequestLog:
    """The last 256 requests for content, and sums since the process started.

    `sent` counts bytes by the peer that got them, `received` by the peer that they came from.
    """

    def __init__(self) -> None:
        self._entries: deque[LoggedRequest] = deque(maxlen=_MOST_ENTRIES)
        self.sent, self.received = Traffic(), Traffic()
        self.client_bytes = 0
        self.last_mirrored: LoggedRequest | None = None
        self.version = 0
        self._late: Callable[[], Iterable[LoggedRequest]] = tuple

    def record(self, entry: LoggedRequest) -> None:
        """Add an entry. Pings are left out: they say nothing and would soon displace all other entries."""
        if isinstance(entry.target, Ping):
            return
        self._entries.append(entry)
        self.version += 1
        if not entry.served:
            return
        if entry.peer:
            self.sent.add(entry.peer, entry.sent_bytes)
            return
        self.client_bytes += entry.sent_bytes
        if isinstance(entry.source, FromPeer):
            self.last_mirrored = entry

    def add_source(self, late: Callable[[], Iterable[LoggedRequest]]) -> None:
        """`late` gives more entries whenever the log is read. They are in the list, but not in the sums."""
        self._late = late

    def latest(self) -> list[LoggedRequest]:
        """All entries, the latest first."""
        self._entries.extend(self._late())
        return sorted(self._entries, key=lambda entry: entry.at, reverse=True)
