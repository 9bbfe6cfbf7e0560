"""What was relayed in the last minutes: nothing hashes a blob on its way, so asking again is a sign.

Pure but for the clock that it is given, in seconds.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from cachetools import TTLCache

from heliograph_registry.mirror.domain.ranges import ByteRange
from heliograph_shared.digest import Digest

_REMEMBERED_S = 300.0
_MOST_DIGESTS = 4096
_MOST_STARTS = 4096


@dataclass(slots=True)
class _Past:
    starts: set[int] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)


class RelayHistory:
    """Of at most 4,096 digests, each for 5 minutes after it was relayed last."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._past: TTLCache[Digest, _Past] = TTLCache(_MOST_DIGESTS, _REMEMBERED_S, timer=clock)

    def add(self, digest: Digest, wanted: ByteRange | None, nodes: Iterable[str]) -> None:
        """Bytes of it went to a client, from these nodes."""
        past = self._past.get(digest) or _Past()
        if len(past.starts) < _MOST_STARTS:
            past.starts.add(start_of(wanted))
        past.nodes.update(nodes)
        self._past[digest] = past

    def is_repeat(self, digest: Digest, wanted: ByteRange | None) -> bool:
        """Whether it has been sent from the same byte on: whoever asks twice had no use for it.

        The parallel ranges of one pull, and one that is resumed, each begin at a byte of their own.
        """
        past = self._past.get(digest)
        return past is not None and start_of(wanted) in past.starts

    def nodes(self, digest: Digest) -> frozenset[str]:
        """Where it came from."""
        past = self._past.get(digest)
        return frozenset(past.nodes) if past else frozenset()

    def forget(self, digest: Digest) -> None:
        """It has proven to be right."""
        self._past.pop(digest, None)

    def __iter__(self) -> Iterator[Digest]:
        return iter(list(self._past))


class StartedBlobs:
    """Blobs of which a part has been sent as 206: containerd 2.1 fails a pull that gets a 404 after it.

    A response that ends without a byte makes it ask once more for the same part, and then a 404 sends it to
    its next host. At most 4,096 digests and ends, for 5 minutes.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._sizes: TTLCache[Digest, int] = TTLCache(_MOST_DIGESTS, _REMEMBERED_S, timer=clock)
        self._ended: TTLCache[tuple[Digest, int], None] = TTLCache(_MOST_DIGESTS, _REMEMBERED_S, timer=clock)

    def made(self, digest: Digest, size_bytes: int) -> None:
        self._sizes[digest] = size_bytes

    def owed(self, digest: Digest, wanted: ByteRange) -> int | None:
        """The blob's size when this part of it must not be refused now; None when it may be."""
        size_bytes = self._sizes.get(digest)
        if size_bytes is None or (digest, start_of(wanted)) in self._ended:
            return None
        self._ended[digest, start_of(wanted)] = None
        return size_bytes


def start_of(wanted: ByteRange | None) -> int:
    """The first byte asked for; a suffix is told from it by being negative."""
    if wanted is None:
        return 0
    return wanted.first if wanted.first is not None else -(wanted.last or 0)
