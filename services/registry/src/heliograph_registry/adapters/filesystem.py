"""The content store's directory, read-only: `blobs/<algorithm>/<hex>`, as in an OCI image layout."""

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import structlog

from heliograph_shared.digest import Digest, algorithm_of, hex_of

log = structlog.get_logger()

_FIRST_BYTE_THREADS, _BODY_THREADS = 8, 8
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe must not block the open


class Readers:
    """Threads that read from disk; they end with the context.

    First bytes have threads of their own: behind the read-ahead of large blobs they would come after the time
    limit for them.
    """

    def __init__(self, first_bytes: Executor, bodies: Executor) -> None:
        self.first_bytes, self.bodies = first_bytes, bodies
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.first_bytes)
        self._stack.enter_context(self.bodies)
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()


class FileBlob:
    """An open blob. Its file never changes, and stays readable if it is unlinked."""

    def __init__(
        self,
        descriptor: int,
        size_bytes: int,
        readers: Readers,
        *,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self._descriptor, self._readers, self._on_closed = descriptor, readers, closed
        self._was_read = self._closed = False
        self.size_bytes = size_bytes

    def fileno(self) -> int:
        return self._descriptor

    async def read(self, offset: int, count: int) -> bytes:
        threads = self._readers.bodies if self._was_read else self._readers.first_bytes
        self._was_read = True
        piece = _read_from_memory(self._descriptor, offset, count)
        if len(piece) == count:
            return piece
        duplicate = os.dup(self._descriptor)  # the thread outlives a cancelled request
        reading = threads.submit(os.pread, duplicate, count, offset)
        reading.add_done_callback(lambda _: os.close(duplicate))  # also called if it is cancelled unstarted
        return await asyncio.wrap_future(reading)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._descriptor)
            self._on_closed()


class FileContent:
    """Reads from disk run in a few threads, so that a slow disk delays no other request."""

    def __init__(self, root: Path, readers: Readers) -> None:
        self._blobs = root / "blobs"
        self._readers = readers
        self._existed = False

    def lacks(self, digest: Digest) -> bool:
        return not os.path.exists(self._path(digest))  # noqa: PTH110 - costs only the system call

    async def open(self, digest: Digest) -> FileBlob | None:
        path = self._path(digest)
        try:
            descriptor = os.open(path, _OPEN_FLAGS)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("local blob cannot be opened", digest=digest, reason=error.strerror)
            return None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            log.warning("local blob cannot be opened", digest=digest, reason="not a file")
            os.close(descriptor)
            return None
        return FileBlob(descriptor, status.st_size, self._readers)

    def _path(self, digest: Digest) -> str:
        return f"{self._blobs}/{algorithm_of(digest)}/{hex_of(digest)}"

    def unreadable_reason(self) -> str | None:
        """Why the store cannot be read; None if it can.

        containerd creates its content directory, and `blobs/` in it, only for the first blob. So a store that
        does not exist yet counts as empty, as long as its parent directory exists. A store that existed and
        has disappeared is an error.
        """
        root = self._blobs.parent
        candidates = [self._blobs, root] if self._existed else [self._blobs, root, root.parent]
        for directory in candidates:
            try:
                with os.scandir(directory) as entries:
                    next(entries, None)
            except FileNotFoundError:
                continue
            except OSError as error:
                return f"{directory}: {error.strerror}"
            self._existed = directory != root.parent
            return None
        return f"{candidates[-1]}: not there"


def _read_from_memory(descriptor: int, offset: int, count: int) -> bytes:
    """The bytes up to the first one not in the page cache; empty on an error, which the next read reports."""
    buffer = bytearray(count)
    with suppress(OSError):
        return bytes(memoryview(buffer)[: os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)])
    return b""


def cached(descriptor: int, offset: int) -> bool | None:
    """Whether a read at `offset` needs no disk; true at the end of the file and on an error.

    None if the file system cannot say: ZFS and NFS do not know RWF_NOWAIT (preadv2(2)).
    """
    try:
        os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except OSError as error:
        return None if error.errno == errno.EOPNOTSUPP else True
    return True


def open_readers() -> Readers:
    return Readers(
        ThreadPoolExecutor(_FIRST_BYTE_THREADS, thread_name_prefix="first-bytes"),
        ThreadPoolExecutor(_BODY_THREADS, thread_name_prefix="read-ahead"),
    )
