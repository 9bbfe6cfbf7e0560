"""A content store in memory: the port `Content` as the contract suite proves it to behave."""

import errno
import io
from collections.abc import Callable

from heliograph_shared.digest import Digest, digest_of


class MemoryBlob:
    """An open blob. It has no descriptor: what needs one belongs in a test with real files."""

    def __init__(
        self,
        data: bytes,
        *,
        size_bytes: int | None = None,
        unreadable: bool = False,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        """`size_bytes` is what it says of itself; a file that became shorter says more than it holds."""
        self._data, self._unreadable, self._tell_closed = data, unreadable, closed
        self.size_bytes = len(data) if size_bytes is None else size_bytes
        self.closed = False

    def fileno(self) -> int:
        raise io.UnsupportedOperation("a blob in memory has no descriptor")

    async def read(self, offset: int, count: int) -> bytes:
        if self.closed:
            raise OSError(errno.EBADF, "the blob is closed")
        if self._unreadable:
            raise OSError(errno.EIO, "the disk is broken")
        return self._data[offset : offset + count]

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._tell_closed()


class MemoryContent:
    """Blobs are added by `put`; `open_blobs` is how many are open just now."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self._unreadable: set[Digest] = set()
        self.open_blobs = 0

    def put(self, data: bytes, digest: Digest | None = None) -> Digest:
        """Under its own digest, unless another one is given: then the store holds wrong bytes."""
        digest = digest or digest_of(data)
        self._blobs[digest] = data
        return digest

    def remove(self, digest: Digest) -> None:
        del self._blobs[digest]

    def break_reads(self, digest: Digest) -> None:
        """From now on the blob can be opened, but not read."""
        self._unreadable.add(digest)

    async def open(self, digest: Digest) -> MemoryBlob | None:
        data = self._blobs.get(digest)
        if data is None:
            return None
        self.open_blobs += 1
        return MemoryBlob(data, unreadable=digest in self._unreadable, closed=self._closed)

    def lacks(self, digest: Digest) -> bool:
        return digest not in self._blobs

    def _closed(self) -> None:
        self.open_blobs -= 1
