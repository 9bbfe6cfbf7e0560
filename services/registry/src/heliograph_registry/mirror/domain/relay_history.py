"""Which blobs were relayed to whom in the last minutes, and which of them had the right bytes.

A relayed blob is not hashed on its way. A client that was sent all of a blob and requests it again may have
found that its bytes were wrong. Pure, except for the clock that it is given, in seconds.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from cachetools import TTLCache

from heliograph_registry.mirror.domain.ranges import ByteRange
from heliograph_shared.digest import Digest

_REMEMBERED_S = 300.0
_MOST_DIGESTS = 4096
_MOST_CLIENTS = 16  # of one digest
_MOST_STARTS = 1024  # of one digest and client
_MOST_STARTS_IN_ALL = 64 << 10
_WORTH = 7 / 8  # of a blob; the rest may have come from upstream after a broken transfer


@dataclass(slots=True)
class _Sent:
    """What one client was sent of a blob."""

    starts: set[int] = field(default_factory=set)
    sent_bytes: int = 0


@dataclass(slots=True)
class _Entry:
    size_bytes: int = 0
    clients: dict[str, _Sent] = field(default_factory=dict)
    nodes: set[str] = field(default_factory=set)

    def weight(self) -> int:
        return 1 + sum(len(sent.starts) for sent in self.clients.values())


class RelayHistory:
    """Remembers each blob for 5 minutes after it was last relayed, and right bytes for 5 minutes.

    The oldest is dropped when there are 4,096 digests with right bytes, or 65,536 requests from different
    bytes on. Of one digest 16 clients are remembered, and of each of them 1,024 such requests.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._entries: TTLCache[Digest, _Entry] = TTLCache(
            _MOST_STARTS_IN_ALL, _REMEMBERED_S, timer=clock, getsizeof=_Entry.weight
        )
        self._right: TTLCache[Digest, frozenset[str]] = TTLCache(_MOST_DIGESTS, _REMEMBERED_S, timer=clock)

    def add(
        self,
        digest: Digest,
        client: str,
        wanted: ByteRange | None,
        size_bytes: int,
        bytes_by_node: Mapping[str, int],
    ) -> None:
        """The client was sent this range of the blob of `size_bytes`, so many bytes from each node."""
        right = self.right_nodes(digest)
        doubtful = {node: count for node, count in bytes_by_node.items() if node not in right}
        if not doubtful:
            return
        entry = self._entries.get(digest) or _Entry()
        entry.size_bytes = size_bytes
        entry.nodes.update(doubtful)
        sent = entry.clients.pop(client, None) or _Sent()
        entry.clients[client] = sent  # the latest client is the last
        if len(entry.clients) > _MOST_CLIENTS:
            del entry.clients[next(iter(entry.clients))]
        sent.sent_bytes += sum(doubtful.values())
        if len(sent.starts) < _MOST_STARTS:
            sent.starts.add(start_of(wanted))
        self._entries[digest] = entry

    def is_repeat(self, digest: Digest, client: str, wanted: ByteRange | None) -> bool:
        """Whether the client was sent about as many bytes as the blob has, some from this first byte on.

        So neither small ranges of a large blob are repeats, nor a pull's parallel ranges, nor resumed pulls.
        """
        entry = self._entries.get(digest)
        sent = entry.clients.get(client) if entry else None
        if entry is None or sent is None or start_of(wanted) not in sent.starts:
            return False
        return sent.sent_bytes >= _WORTH * entry.size_bytes

    def nodes(self, digest: Digest) -> frozenset[str]:
        """The nodes whose bytes were sent and not hashed."""
        entry = self._entries.get(digest)
        return frozenset(entry.nodes) if entry else frozenset()

    def right_nodes(self, digest: Digest) -> frozenset[str]:
        """The nodes whose bytes were hashed and right."""
        return self._right.get(digest, frozenset())

    def was_right(self, digest: Digest, node: str) -> None:
        """This node's bytes were hashed and right: they no longer count, nor does what was sent before."""
        self._right[digest] = self.right_nodes(digest) | {node}
        self.forget(digest)

    def forget(self, digest: Digest) -> None:
        """The bytes that were sent were right."""
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
