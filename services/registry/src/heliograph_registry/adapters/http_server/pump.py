"""Threads that move bytes within the kernel, apart from the event loop.

Each pump is one epoll loop, edge-triggered, over its transfers, which take turns of at most 2 MiB: none
starves another, and a slow client costs an idle descriptor. The system calls let go of the interpreter's
lock. What the disk has not read yet is read in other threads first, so that it delays nobody else's turn.
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
from heliograph_registry.adapters.http_server.transfer import FileTransfer, NotCached, Transfer
from heliograph_registry.mirror.domain.stall import Side
from heliograph_registry.mirror.errors import ClientGone, SourceFailed

_MOST_PUMPS = 4
_TICK_S = 0.25
_QUEUED_BYTES = 12 << 20  # in all
_LEAST_QUEUED_BYTES = 64 << 10  # of one transfer
_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET


class Pumps:
    def __init__(self, pumps: list["_Pump"]) -> None:
        self._pumps, self._inline = pumps, InlineSender()

    async def move(self, transfer: Transfer) -> None:
        """Until all bytes have been handed to the client's socket.

        Raises `SourceFailed` or `ClientGone`; `transfer.moved` then says how far it came. After a
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
    """Own the threads for as long as they are used; `readers` read what is not in memory, and end first."""
    with ExitStack() as stack:
        count = min(_MOST_PUMPS, max(1, (os.cpu_count() or 1) // 2))  # more wait for each other's lock
        pumps = [_Pump(readers, _QUEUED_BYTES // count) for _ in range(count)]
        for pump in pumps:
            stack.callback(pump.close)
        yield Pumps(pumps)


class _Pump:
    """One thread and its transfers; `start`, `cancel` and `close` may be called from any thread."""

    def __init__(self, readers: Executor, queued_bytes: int) -> None:
        self.load = 0
        self._readers, self._queued_bytes = readers, queued_bytes
        self._epoll, self._bell = select.epoll(), os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._told: deque[Callable[[], None]] = deque()
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
                self._share()
            except OSError as error:
                self._end(transfer, SourceFailed(str(error)))
            self._queue(transfer)

        self._tell(begin)

    def cancel(self, transfer: Transfer) -> None:
        self._tell(lambda: self._end(transfer, ClientGone("not wanted any more")))

    def close(self) -> None:
        def stop() -> None:
            self._running = False

        self._tell(stop)
        self._thread.join()
        self._epoll.close()
        os.close(self._bell)

    def _tell(self, what: Callable[[], None]) -> None:
        self._told.append(what)
        os.eventfd_write(self._bell, 1)

    def _run(self) -> None:
        judge_at = 0.0
        while self._running:
            timeout = 0.0 if self._ready else _TICK_S if self._transfers else None
            for descriptor, _ in self._epoll.poll(timeout):
                if descriptor == self._bell:
                    self._listen()
                elif (transfer := self._transfers.get(descriptor)) is not None:
                    self._queue(transfer)
            for _ in range(len(self._ready)):
                self._turn(self._ready.popleft())
            if (now := time.monotonic()) >= judge_at:
                judge_at = now + _TICK_S
                self._judge(now)
        for transfer in self._under_way():
            self._end(transfer, ClientGone("stopping"))

    def _under_way(self) -> set[Transfer]:
        return set(self._transfers.values())

    def _judge(self, now: float) -> None:
        for transfer in self._under_way():
            if (error := transfer.stall(now)) is not None:
                self._end(transfer, error)
        self._share()

    def _share(self) -> None:
        """What the kernel may hold for clients is shared by the transfers under way."""
        transfers = self._under_way()
        share = max(self._queued_bytes // max(1, len(transfers)), _LEAST_QUEUED_BYTES)
        for transfer in transfers:
            transfer.may_queue(share)

    def _listen(self) -> None:
        os.eventfd_read(self._bell)
        while self._told:
            self._told.popleft()()

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
        except NotCached as cold:
            self._read(transfer, cold.read)
        except Exception as error:  # noqa: BLE001 - whatever it is ends this transfer, never the pump
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

        transfer.reading = True
        transfer.wait_for(Side.SOURCE)
        reading = self._readers.submit(read)
        reading.add_done_callback(lambda done: self._tell(lambda: go_on(done)))

    def _end(self, transfer: Transfer, error: Exception | None) -> None:
        if transfer.ended:
            return
        for descriptor in transfer.descriptors:
            if self._transfers.pop(descriptor, None) is not None:
                self._epoll.unregister(descriptor)
        transfer.finish(error)
