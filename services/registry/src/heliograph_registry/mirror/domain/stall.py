"""Whether a transfer has stalled, and on which side. Pure: the caller passes the time in seconds."""

from enum import Enum, auto

_MIN_BYTES_S = 1024
"""A source that is slower than this for a whole window has stalled; it would hold a pull for ever."""


class Side(Enum):
    """The side that a transfer waits for."""

    SOURCE = auto()
    CLIENT = auto()


class StallDetector:
    """A source is checked in windows of `source_s`; a client may accept no bytes for `client_s`.

    The source is not blamed for a window in which the transfer ever waited for the client.
    """

    def __init__(self, now: float, *, source_s: float, client_s: float) -> None:
        self._source_s, self._client_s = source_s, client_s
        self._moved, self._moved_at = 0, now
        self._window_moved, self._window_began = 0, now
        self._waited_for: set[Side] = set()

    def waits_for(self, side: Side) -> None:
        self._waited_for.add(side)

    def stalled(self, moved: int, now: float, waiting_for: Side | None) -> Side | None:
        """The side that has stalled, if any.

        `moved` is the number of bytes so far; `waiting_for` is the side that the transfer waits for now, None
        right after bytes have moved. A source is judged by its whole window, a client by the present wait.
        """
        if moved != self._moved:
            self._moved, self._moved_at = moved, now
        if waiting_for is Side.CLIENT:
            return Side.CLIENT if now - self._moved_at >= self._client_s else None
        if now - self._window_began < self._source_s:
            return None
        slow = moved - self._window_moved < _MIN_BYTES_S * self._source_s
        blamed = slow and self._waited_for == {Side.SOURCE}
        self._window_moved, self._window_began = moved, now
        self._waited_for = {waiting_for} if waiting_for else set()
        return Side.SOURCE if blamed else None
