"""Blobs that this node seems to hold, but cannot serve.

Pure, except for the clock that it is given, in seconds.
"""

from collections.abc import Callable

from cachetools import TTLCache

from heliograph_shared.digest import Digest

_REMEMBERED_S = 600.0
_MOST_DIGESTS = 256


class UnservableBlobs:
    """At most 256 blobs that could not be read, and as many that a peer was refused, each for 10 minutes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._unreadable: TTLCache[Digest, None] = TTLCache(_MOST_DIGESTS, _REMEMBERED_S, timer=clock)
        self._refused: TTLCache[Digest, bool] = TTLCache(_MOST_DIGESTS, _REMEMBERED_S, timer=clock)

    def add_unreadable(self, digest: Digest) -> None:
        """A read of it failed."""
        self._unreadable[digest] = None

    def is_unreadable(self, digest: Digest) -> bool:
        return digest in self._unreadable

    def add_refused(self, digest: Digest, *, absent: bool) -> None:
        """A peer asked for it in vain; `absent` if there is no file."""
        self._refused[digest] = absent

    def all(self, lacks: Callable[[Digest], bool]) -> list[Digest]:
        """All of them, in order. A file that was absent and is there by now is forgotten."""
        for digest, absent in list(self._refused.items()):
            if absent and not lacks(digest):
                self._refused.pop(digest, None)
        return sorted({*self._unreadable, *self._refused})
