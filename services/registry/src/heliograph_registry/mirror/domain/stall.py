"""Whether a transfer gets on. Pure: the caller says what time it is, in seconds."""

from enum import Enum, auto

_MIN_BYTES_S = 1024
"""Slower than this for a whole window is a stall: a peer that drips would hold a pull for ever."""


class Side(Enum):
    """Whom a transfer waits for."""

    SOURCE = auto()
    CLIENT = auto()


class StallDetector:
    """Judges a source in windows of `source_s`; a client may take nothing for `client_s`.

    A source is only to blame for a window in which nobody ever waited for the client.
    """

    def __init__(self, now: float, *, source_s: float, client_s: float) -> None:
        self._source_s, self._client_s = source_s, client_s
        self._moved, self._moved_at = 0, now
        self._window_moved, self._window_began = 0, now
        self._waited_for: set[Side] = set()

    def waits_for(self, side: Side) -> None:
        self._waited_for.add(side)

    def stalled(self, moved: int, now: float, waiting_for: Side | None) -> Side | None:
        """Who does not get on; `moved` are the bytes so far, `waiting_for` who is waited for just now.

        That may be nobody, right after a few bytes have moved: what counts is the whole window.
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
