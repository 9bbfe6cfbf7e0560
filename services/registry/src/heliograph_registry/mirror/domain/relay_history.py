"""Which blobs were relayed in the last minutes.

A relayed blob is not hashed on its way, so a second request for it may mean that its bytes were wrong.
Pure, except for the clock that it is given, in seconds.
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
class _Entry:
    starts: set[int] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)


class RelayHistory:
    """Remembers at most 4,096 digests, each for 5 minutes after it was last relayed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._entries: TTLCache[Digest, _Entry] = TTLCache(_MOST_DIGESTS, _REMEMBERED_S, timer=clock)

    def add(self, digest: Digest, wanted: ByteRange | None, nodes: Iterable[str]) -> None:
        """A client was sent this range of the blob, from these nodes."""
        entry = self._entries.get(digest) or _Entry()
        if len(entry.starts) < _MOST_STARTS:
            entry.starts.add(start_of(wanted))
        entry.nodes.update(nodes)
        self._entries[digest] = entry

    def is_repeat(self, digest: Digest, wanted: ByteRange | None) -> bool:
        """Whether the blob has already been sent from the same byte on.

        That tells a repeated pull from parallel ranges and from a resumed pull, which begin at other bytes.
        """
        entry = self._entries.get(digest)
        return entry is not None and start_of(wanted) in entry.starts

    def nodes(self, digest: Digest) -> frozenset[str]:
        """The nodes that its bytes came from."""
        entry = self._entries.get(digest)
        return frozenset(entry.nodes) if entry else frozenset()

    def forget(self, digest: Digest) -> None:
        """Its bytes were right."""
        self._entries.pop(digest, None)

    def __iter__(self) -> Iterator[Digest]:
        return iter(list(self._entries))


class StartedBlobs:
    """Blobs of which a range has been sent (206). containerd 2.1 fails a pull that gets a 404 after a 206.

    A response that ends before its first byte is better: containerd asks once more for the same range, and a
    404 then sends it to its next host. Remembers at most 4,096 digests and 4,096 ranges, for 5 minutes.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._sizes: TTLCache[Digest, int] = TTLCache(_MOST_DIGESTS, _REMEMBERED_S, timer=clock)
        self._ended: TTLCache[tuple[Digest, int], None] = TTLCache(_MOST_DIGESTS, _REMEMBERED_S, timer=clock)

    def started(self, digest: Digest, size_bytes: int) -> None:
        """A range of the blob is being sent."""
        self._sizes[digest] = size_bytes

    def must_not_refuse(self, digest: Digest, wanted: ByteRange) -> int | None:
        """The blob's size if this range must not be refused now, else None.

        It says so once for each range, and counts on the caller to end that response early.
        """
        size_bytes = self._sizes.get(digest)
        if size_bytes is None or (digest, start_of(wanted)) in self._ended:
            return None
        self._ended[digest, start_of(wanted)] = None
        return size_bytes


def start_of(wanted: ByteRange | None) -> int:
    """The first byte of the range; for a suffix range, the negative of its length."""
    if wanted is None:
        return 0
    return wanted.first if wanted.first is not None else -(wanted.last or 0)
