"""Transfers to a client's socket: by `sendfile` from a file, by `splice` from a peer's socket.

A transfer owns duplicates of its descriptors and closes them itself. Otherwise it might write to a descriptor
that was closed elsewhere and whose number was reused.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterable

from heliograph_registry.adapters.filesystem import cached
from heliograph_registry.mirror.domain.stall import Side, Stall, StallDetector
from heliograph_registry.mirror.errors import STALLED, ClientGone, SourceFailed, SourceSlow

TURN_BYTES = 2 << 20
_MOST_QUEUED_BYTES = 4 << 20  # the usual maximum of net.ipv4.tcp_wmem (tcp(7))
_LEAST_PIPE_BYTES, _MOST_PIPE_BYTES = 16 << 10, 1 << 20
_READ_AHEAD_BYTES = 512 << 10  # a slow disk may have to read one for each thread before a first byte
_DISK_STALL_S = 60.0
_SHORTER = "the file became shorter"
_SPLICE = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE


class NotCached(Exception):
    """The next bytes are not in the page cache; `read` reads them into it, and may block."""

    def __init__(self, read: Callable[[], None]) -> None:
        super().__init__()
        self.read = read


class Transfer:
    """`count` bytes to a client. Once it is started, only its pump may use it, except for `done`."""

    def __init__(self, client: int, count: int, *, stall: StallDetector) -> None:
        """`stall` judges this transfer from now on."""
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.client = socket.socket(fileno=os.dup(client))
        self._owned: list[int] = []
        self.count, self.moved = count, 0
        self.waiting_for: Side | None = None
        self.queued = self.ended = self.reading = False
        self._queue_bytes = _MOST_QUEUED_BYTES
        self._stall = stall
        stall.restart(time.monotonic())

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors to poll."""
        return (self.client.fileno(),)

    def limit_queue(self, count: int) -> None:
        """Limit the bytes that the kernel holds for the client, sent or not: they count as container memory.

        Until the limit first changes, TCP tunes the buffer itself. A limit that is set is also capped by
        `net.core.wmem_max`.
        """
        count = min(count, _MOST_QUEUED_BYTES)
        if count != self._queue_bytes:
            self._queue_bytes = count
            send_buffer = count // 2  # the kernel doubles it (socket(7))
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)

    def turn(self) -> bool:
        """Move some bytes. True if more can be moved at once, False if the transfer has to wait.

        Raises `SourceFailed`, `ClientGone` or `NotCached`.
        """
        raise NotImplementedError

    def wait_for(self, side: Side) -> bool:
        self.waiting_for = side
        self._stall.waits_for(side)
        return False

    def stall(self, now: float) -> Exception | None:
        """The error to end the transfer with if it has stalled."""
        match self._stall.check(self.moved, now, self.waiting_for):
            case Stall.SOURCE_SLOW:
                return SourceSlow()
            case Stall.SOURCE_STALLED:
                return SourceFailed(STALLED)
            case Stall.CLIENT_STALLED:
                return ClientGone("accepted no bytes for too long")
            case None:
                return None

    def finish(self, error: BaseException | None) -> None:
        def set_done() -> None:
            if self.done.done():
                return
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)

        self.ended = True
        if not self.reading:
            self.close()
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nothing waits for the transfer
            self._loop.call_soon_threadsafe(set_done)

    def own(self, opened: Callable[[], Iterable[int]]) -> Iterable[int]:
        """Open descriptors that are closed with the transfer. Raises `OSError` after closing the transfer."""
        try:
            descriptors = tuple(opened())
        except OSError:
            self.close()
            raise
        self._owned += descriptors
        return descriptors

    def close(self) -> None:
        self.limit_queue(_MOST_QUEUED_BYTES)  # for the connection's next answer
        self.client.close()
        for descriptor in self._owned:
            os.close(descriptor)


class FileTransfer(Transfer):
    def __init__(self, client: int, file: int, offset: int, count: int) -> None:
        super().__init__(client, count, stall=StallDetector(time.monotonic(), source_s=_DISK_STALL_S))
        (self._file,) = self.own(lambda: [os.dup(file)])
        self._offset = offset
        self._read_until = offset

    def turn(self) -> bool:
        position, want = self._offset + self.moved, self._in_memory()
        if not want:
            raise NotCached(self._read_ahead)
        try:
            sent = os.sendfile(self.client.fileno(), self._file, position, want)
        except BlockingIOError:
            return self.wait_for(Side.CLIENT)
        except ConnectionError as error:
            raise ClientGone(error.strerror or str(error)) from error
        except OSError as error:
            raise SourceFailed(error.strerror or str(error)) from error
        if not sent:
            raise SourceFailed(_SHORTER)
        self.moved += sent
        return True

    def _in_memory(self) -> int:
        """How many bytes can be sent in this turn without waiting for the disk."""
        position, left = self._offset + self.moved, self.count - self.moved
        if self._read_until > position:
            return min(left, self._read_until - position)
        if cached(self._file, position):
            for want in (min(TURN_BYTES, left), min(_READ_AHEAD_BYTES, left)):
                if cached(self._file, position + want - 1):
                    return want
        return 0

    def _read_ahead(self) -> None:
        """Read the next piece into memory, or what a failing disk can read of it. Raises `OSError`."""
        position = self._offset + self.moved
        count = len(os.pread(self._file, min(_READ_AHEAD_BYTES, self.count - self.moved), position))
        if not count:
            raise OSError(_SHORTER)
        self._read_until = position + count


class SpliceTransfer(Transfer):
    """Moves bytes between sockets through a pipe, which is emptied before more is read from the source."""

    def __init__(self, client: int, source: int, count: int, *, stall: StallDetector) -> None:
        super().__init__(client, count, stall=stall)
        (self._source,) = self.own(lambda: [os.dup(source)])
        self._out, self._in = self.own(os.pipe)
        self._piped = 0
        self._pipe_bytes = self._wanted_pipe_bytes = fcntl.fcntl(self._in, fcntl.F_GETPIPE_SZ)

    @property
    def descriptors(self) -> tuple[int, ...]:
        return (self.client.fileno(), self._source)

    @property
    def pipe_bytes(self) -> int:
        """Size of the pipe now, or soon if it grows."""
        return max(self._pipe_bytes, self._wanted_pipe_bytes)

    def limit_pipe(self, count: int) -> None:
        """When the pipe is next empty, make it `count` bytes large: 16 KiB to 1 MiB, a power of two."""
        count = min(max(count, _LEAST_PIPE_BYTES), _MOST_PIPE_BYTES)
        self._wanted_pipe_bytes = 1 << (count.bit_length() - 1)

    def stall(self, now: float) -> Exception | None:
        if self.waiting_for is None and not self._piped:
            self.waiting_for = Side.SOURCE  # its next bytes come from there
        return super().stall(now)

    def turn(self) -> bool:
        if not self._piped and not self._fill_pipe():
            return self.wait_for(Side.SOURCE)
        try:
            sent = os.splice(self._out, self.client.fileno(), self._piped, flags=_SPLICE)
        except BlockingIOError:
            return self.wait_for(Side.CLIENT)
        except OSError as error:
            raise ClientGone(error.strerror or str(error)) from error
        self._piped -= sent
        self.moved += sent
        return True

    def _fill_pipe(self) -> bool:
        if self._pipe_bytes != self._wanted_pipe_bytes:
            self._resize_pipe()
        want = min(TURN_BYTES, self.count - self.moved)
        try:
            self._piped = os.splice(self._source, self._in, want, flags=_SPLICE)
        except BlockingIOError:
            return False
        except OSError as error:
            raise SourceFailed(error.strerror or str(error)) from error
        if not self._piped:
            raise SourceFailed(f"ended with {self.count - self.moved} bytes missing")
        return True

    def _resize_pipe(self) -> None:
        with contextlib.suppress(OSError):  # others have used up this user's limit; it works as it is
            self._pipe_bytes = fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, self._wanted_pipe_bytes)
        self._wanted_pipe_bytes = self._pipe_bytes
