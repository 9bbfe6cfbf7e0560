"""What was asked of this registry lately, and what came of it. Pure, and bounded.

A line is added for every request, on the way of every pull: no more is done then than to keep it.
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

    `at` is when it ended, in seconds since the epoch; `peer` the node whose registry asked, empty for any
    other client; `reason` is None when it was served.
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

    @property
    def served(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_pull(self) -> bool:
        """Part of a pull by a client, so that its answer says whether the mirror is of use."""
        content = not isinstance(self.target, Ping | InvalidTarget)
        return content and not self.peer and self.status != 405


class RequestLog:
    """The last 256 requests for content, and sums since the start."""

    def __init__(self) -> None:
        self._entries: deque[LoggedRequest] = deque(maxlen=_MOST_ENTRIES)
        self.given, self.taken = Traffic(), Traffic()
        self.client_bytes = 0
        self.last_mirrored: LoggedRequest | None = None
        self.version = 0
        self._late: Callable[[], Iterable[LoggedRequest]] = tuple

    def record(self, entry: LoggedRequest) -> None:
        """Take note of it, unless it is a ping, which tells nothing and would soon be all that is left."""
        if isinstance(entry.target, Ping):
            return
        self._entries.append(entry)
        self.version += 1
        if not entry.served:
            return
        if entry.peer:
            self.given.add(entry.peer, entry.sent_bytes)
            return
        self.client_bytes += entry.sent_bytes
        if isinstance(entry.source, FromPeer):
            self.last_mirrored = entry

    def ask_also(self, late: Callable[[], Iterable[LoggedRequest]]) -> None:
        """For entries that are only made when somebody looks; they are in the list, and not in the sums."""
        self._late = late

    def latest(self) -> list[LoggedRequest]:
        """The latest first."""
        self._entries.extend(self._late())
        return sorted(self._entries, key=lambda entry: entry.at, reverse=True)
