"""Threads that move bytes within the kernel, apart from the event loop.

Each pump is one edge-triggered epoll loop over its transfers. They take turns of at most 2 MiB, so none
starves another, and a slow client costs only an idle descriptor. The system calls release the interpreter's
lock. Bytes that are not in the page cache are first read in other threads, so that the disk delays no other
transfer.
"""

import asyncio
import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager

from heliograph_registry.adapters.http_server.inline_send import InlineSender
from heliograph_registry.adapters.http_server.transfer import (
    FileTransfer,
    NotCached,
    SpliceTransfer,
    Transfer,
)
from heliograph_registry.mirror.domain.stall import CHECK_EVERY_S, Side
from heliograph_registry.mirror.errors import ClientGone, SourceFailed

_MOST_PUMPS = 4
_QUEUED_BYTES = 12 << 20  # of all transfers
_LEAST_QUEUED_BYTES = 64 << 10  # of one transfer
_PIPED_BYTES = 32 << 20
"""Size of all pipes: half of what all processes of a user without capabilities may have (pipe(7))."""
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class Pumps:
    def __init__(self, pumps: list["_Pump"]) -> None:
        self._pumps, self._inline = pumps, InlineSender()

    async def move(self, transfer: Transfer) -> None:
        """Move all bytes to the client's socket.

        Raises `SourceFailed` or `ClientGone`; `transfer.moved` then has the bytes moved so far. After a
        cancellation no more bytes are moved.
        """
        if isinstance(transfer, FileTransfer) and await self._inline.move(transfer):
            return
        pump = min(self._pumps, key=lambda pump: pump.load)
        pump.load += 1
        pump.start(transfer)
        try:
            await asyncio.shield(transfer.done)
        except asyncio.CancelledError:
            pump.cancel(transfer)
            with contextlib.suppress(ClientGone, SourceFailed):
                await transfer.done
            raise
        finally:
            pump.load -= 1


@contextmanager
def open_pumps(readers: Executor) -> Iterator[Pumps]:
    """Pumps with threads of their own. `readers` read from disk."""
    with ExitStack() as stack:
        count = min(
            _MOST_PUMPS, max(1, (os.cpu_count() or 1) // 2)
        )  # more would wait for the interpreter's lock
        pumps = [_Pump(readers, _QUEUED_BYTES // count, _PIPED_BYTES // count) for _ in range(count)]
        for pump in pumps:
            stack.callback(pump.close)
        yield Pumps(pumps)


class _Pump:
    """One thread and its transfers; `start`, `cancel` and `close` may be called from any thread."""

    def __init__(self, readers: Executor, queued_bytes: int, piped_bytes: int) -> None:
        self.load = 0
        self._readers, self._queued_bytes, self._piped_bytes = readers, queued_bytes, piped_bytes
        self._epoll, self._wakeup = select.epoll(), os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wakeup, select.EPOLLIN)
        self._commands: deque[Callable[[], None]] = deque()
        self._lock, self._closed = threading.Lock(), False
        self._transfers: dict[int, Transfer] = {}
        self._ready: deque[Transfer] = deque()
        self._running = True
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)
        self._thread.start()

    def start(self, transfer: Transfer) -> None:
        def begin() -> None:
            try:
                for descriptor in transfer.descriptors:
                    self._epoll.register(descriptor, _EDGES)
                    self._transfers[descriptor] = transfer
                self._share_memory()
            except OSError as error:
                self._end(transfer, SourceFailed(str(error)))
            self._queue(transfer)

        if not self._submit(begin):
            transfer.finish(ClientGone("stopping"))

    def cancel(self, transfer: Transfer) -> None:
        self._submit(lambda: self._end(transfer, ClientGone("cancelled")))

    def close(self) -> None:
        """End all transfers."""

        def stop() -> None:
            self._running = False

        with self._lock:
            self._commands.append(stop)
            os.eventfd_write(self._wakeup, 1)
            self._closed = True
        self._thread.join()
        self._epoll.close()
        os.close(self._wakeup)

    def _submit(self, command: Callable[[], None]) -> bool:
        """Have the pump's thread run `command`. False after `close`, when every transfer has ended."""
        with self._lock:
            if not self._closed:
                self._commands.append(command)
                os.eventfd_write(self._wakeup, 1)
            return not self._closed

    def _run(self) -> None:
        check_at = 0.0
        while self._running:
            timeout = 0.0 if self._ready else CHECK_EVERY_S if self._transfers else None
            for descriptor, _ in self._epoll.poll(timeout):
                if descriptor == self._wakeup:
                    self._run_commands()
                elif (transfer := self._transfers.get(descriptor)) is not None:
                    self._queue(transfer)
            for _ in range(len(self._ready)):
                self._turn(self._ready.popleft())
            if (now := time.monotonic()) >= check_at:
                check_at = now + CHECK_EVERY_S
                self._end_stalled(now)
        for transfer in self._under_way():
            self._end(transfer, ClientGone("stopping"))

    def _under_way(self) -> set[Transfer]:
        return set(self._transfers.values())

    def _end_stalled(self, now: float) -> None:
        for transfer in self._under_way():
            if (error := transfer.stall(now)) is not None:
                self._end(transfer, error)
        self._share_memory()

    def _share_memory(self) -> None:
        """Share what the kernel may hold, in queues for clients and in pipes, among the running transfers."""
        transfers = self._under_way()
        share = max(self._queued_bytes // max(1, len(transfers)), _LEAST_QUEUED_BYTES)
        for transfer in transfers:
            transfer.limit_queue(share)
        self._share_pipes([transfer for transfer in transfers if isinstance(transfer, SpliceTransfer)])

    def _share_pipes(self, relays: list[SpliceTransfer]) -> None:
        """A pipe shrinks only when it is empty, and until then no other one may take its place."""
        share = self._piped_bytes // max(1, len(relays))
        spare = self._piped_bytes - sum(relay.pipe_bytes for relay in relays)
        for relay in relays:
            before = relay.pipe_bytes
            relay.limit_pipe(min(share, before + max(0, spare)))
            spare -= relay.pipe_bytes - before

    def _run_commands(self) -> None:
        os.eventfd_read(self._wakeup)
        while self._commands:
            self._commands.popleft()()

    def _queue(self, transfer: Transfer) -> None:
        if not (transfer.queued or transfer.reading or transfer.ended):
            transfer.queued = True
            self._ready.append(transfer)

    def _turn(self, transfer: Transfer) -> None:
        transfer.queued = False
        if transfer.ended:
            return
        transfer.waiting_for = None
        try:
            go_on = transfer.turn()
        except NotCached as uncached:
            self._read(transfer, uncached.read)
        except Exception as error:  # noqa: BLE001 - any error ends this transfer, but not the pump
            self._end(transfer, error)
        else:
            if transfer.moved == transfer.count:
                self._end(transfer, None)
            elif go_on:
                self._queue(transfer)

    def _read(self, transfer: Transfer, read: Callable[[], None]) -> None:
        def go_on(reading: Future[None]) -> None:
            transfer.reading = False
            if transfer.ended:
                transfer.close()
            elif (error := reading.exception()) is not None:
                self._end(transfer, SourceFailed(str(error)))
            else:
                self._queue(transfer)

        def done(reading: Future[None]) -> None:
            if not self._submit(lambda: go_on(reading)):
                go_on(reading)

        transfer.reading = True
        transfer.wait_for(Side.SOURCE)
        self._readers.submit(read).add_done_callback(done)

    def _end(self, transfer: Transfer, error: Exception | None) -> None:
        if transfer.ended:
            return
        for descriptor in transfer.descriptors:
            if self._transfers.pop(descriptor, None) is not None:
                self._epoll.unregister(descriptor)
        transfer.finish(error)
