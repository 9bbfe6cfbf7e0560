"""A content store in memory: the port `Content` as the contract suite proves it to behave."""

import errno
import io
from collections import Counter
from collections.abc import Callable

from heliograph_shared.digest import Digest, digest_of


class MemoryBlob:
    """An open blob. It has no descriptor: what needs one belongs in a test with real files."""

    def __init__(
        self,
        data: bytes,
        *,
        size_bytes: int | None = None,
        breaks_at: int | None = None,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        """`size_bytes` is what it says of itself; a file that became shorter says more than it holds.

        The disk is broken from byte `breaks_at` on.
        """
        self._data, self._breaks_at, self._tell_closed = data, breaks_at, closed
        self.size_bytes = len(data) if size_bytes is None else size_bytes
        self.closed = False

    def fileno(self) -> int:
        raise io.UnsupportedOperation("a blob in memory has no descriptor")

    async def read(self, offset: int, count: int) -> bytes:
        if self.closed:
            raise OSError(errno.EBADF, "the blob is closed")
        if self._breaks_at is None:
            return self._data[offset : offset + count]
        if offset >= self._breaks_at:
            raise OSError(errno.EIO, "the disk is broken")
        return self._data[offset : min(offset + count, self._breaks_at)]

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._tell_closed()


class MemoryContent:
    """Blobs are added by `put`; `open_blobs` is how many are open just now, `opened` how often each was."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self._breaks_at: dict[Digest, int] = {}
        self.open_blobs, self.opened = 0, Counter[Digest]()

    def put(self, data: bytes, digest: Digest | None = None) -> Digest:
        """Under its own digest, unless another one is given: then the store holds wrong bytes."""
        digest = digest or digest_of(data)
        self._blobs[digest] = data
        return digest

    def remove(self, digest: Digest) -> None:
        del self._blobs[digest]

    def break_reads(self, digest: Digest, at: int = 0) -> None:
        """From now on the blob can be opened, but not read from this byte on."""
        self._breaks_at[digest] = at

    async def open(self, digest: Digest) -> MemoryBlob | None:
        data = self._blobs.get(digest)
        if data is None:
            return None
        self.open_blobs += 1
        self.opened[digest] += 1
        return MemoryBlob(data, breaks_at=self._breaks_at.get(digest), closed=self._closed)

    def lacks(self, digest: Digest) -> bool:
        return digest not in self._blobs

    def _closed(self) -> None:
        self.open_blobs -= 1
