"""The transfers that pumps make: `sendfile` from a file, `splice` from a peer's socket, to a client's socket.

A transfer owns duplicates of its descriptors and closes them itself, so that a number that was closed
elsewhere and given out anew is never written to.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterable

from heliograph_registry.adapters.filesystem import is_cached
from heliograph_registry.mirror.domain.stall import Side, StallDetector
from heliograph_registry.mirror.errors import ClientGone, SourceFailed

TURN_BYTES = 2 << 20
_MOST_QUEUED_BYTES = 4 << 20  # tcp(7): no more than this is usual, `net.ipv4.tcp_wmem`
_PIPE_BYTES = 1 << 20
_AHEAD_BYTES = 4 << 20
_CLIENT_STALL_S = 120.0
_DISK_STALL_S = 60.0
_SPLICE = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE


class NotCached(Exception):
    """The next bytes are not in memory; `read` gets them there, in its own time."""

    def __init__(self, read: Callable[[], None]) -> None:
        super().__init__()
        self.read = read


class Transfer:
    """`count` bytes to a client. Once it has been started only its pump touches it, except for `done`."""

    def __init__(self, client: int, count: int, *, stall_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.client = socket.socket(fileno=os.dup(client))
        self._owned: list[int] = []
        self.count, self.moved = count, 0
        self.waiting_for: Side | None = None
        self.queued = self.ended = self.reading = False
        self._queue_bytes = _MOST_QUEUED_BYTES
        self._pace = StallDetector(time.monotonic(), source_s=stall_s, client_s=_CLIENT_STALL_S)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Those that tell when it can go on."""
        return (self.client.fileno(),)

    def may_queue(self, count: int) -> None:
        """How many bytes the kernel may hold for the client, sent or not: it charges them to the container.

        Where it is enough for any path TCP decides alone; else `net.core.wmem_max` limits it, too.
        """
        count = min(count, _MOST_QUEUED_BYTES)
        if count != self._queue_bytes:
            self._queue_bytes = count
            self.client.setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, count // 2
            )  # socket(7): it doubles it

    def turn(self) -> bool:
        """Move some bytes: True when there may be more to move at once, False when it has to wait.

        Raises `SourceFailed`, `ClientGone` or `NotCached`.
        """
        raise NotImplementedError

    def wait_for(self, side: Side) -> bool:
        self.waiting_for = side
        self._pace.waits_for(side)
        return False

    def stall(self, now: float) -> Exception | None:
        """The error to end it with when it does not get on."""
        match self._pace.stalled(self.moved, now, self.waiting_for):
            case Side.SOURCE:
                return SourceFailed("sent next to nothing for too long")
            case Side.CLIENT:
                return ClientGone("took nothing for too long")
            case None:
                return None

    def finish(self, error: BaseException | None) -> None:
        def tell() -> None:
            if self.done.done():
                return
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)

        self.ended = True
        if not self.reading:
            self.close()
        with contextlib.suppress(RuntimeError):  # a loop that has been closed waits for nobody
            self._loop.call_soon_threadsafe(tell)

    def own(self, opened: Callable[[], Iterable[int]]) -> Iterable[int]:
        """Descriptors that are closed with it; without them all is closed at once. Raises `OSError`."""
        try:
            descriptors = tuple(opened())
        except OSError:
            self.close()
            raise
        self._owned += descriptors
        return descriptors

    def close(self) -> None:
        self.may_queue(_MOST_QUEUED_BYTES)  # the connection's next answer may be sent alone
        self.client.close()
        for descriptor in self._owned:
            os.close(descriptor)


class FileTransfer(Transfer):
    def __init__(self, client: int, file: int, offset: int, count: int) -> None:
        super().__init__(client, count, stall_s=_DISK_STALL_S)
        (self._file,) = self.own(lambda: [os.dup(file)])
        self._offset = offset

    def turn(self) -> bool:
        position, want = self._offset + self.moved, min(TURN_BYTES, self.count - self.moved)
        if not (is_cached(self._file, position) and is_cached(self._file, position + want - 1)):
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
            raise SourceFailed("the file is shorter than it was")
        self.moved += sent
        return True

    def _read_ahead(self) -> None:
        position = self._offset + self.moved
        end = min(position + _AHEAD_BYTES, self._offset + self.count)
        while position < end and (piece := os.pread(self._file, min(TURN_BYTES, end - position), position)):
            position += len(piece)


class SpliceTransfer(Transfer):
    """From socket to socket by way of a pipe, which is empty whenever the source is asked for more."""

    def __init__(self, client: int, source: int, count: int, *, stall_s: float) -> None:
        super().__init__(client, count, stall_s=stall_s)
        (self._source,) = self.own(lambda: [os.dup(source)])
        self._out, self._in = self.own(os.pipe)
        self._piped = 0
        with contextlib.suppress(OSError):  # a user's pipes have a limit: a small one works, too
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def descriptors(self) -> tuple[int, ...]:
        return (self.client.fileno(), self._source)

    def turn(self) -> bool:
        if not self._piped and not self._take():
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

    def _take(self) -> bool:
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
