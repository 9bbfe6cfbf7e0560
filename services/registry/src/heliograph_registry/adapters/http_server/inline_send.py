"""Sends small files on the event loop itself, if the client reads fast enough.

Passing a small file to a pump thread costs more than sending it, because every system call releases the
interpreter's lock.
"""

import asyncio
import socket
from contextlib import suppress

from heliograph_registry.adapters.http_server.transfer import NotCached, Transfer

_MOST_BYTES = 16 << 20
_MOST_AT_ONCE = 8  # at worst, another request waits for one turn of each
_WRITABLE_TIMEOUT_S = 0.05


class InlineSender:
    """Limits how many files are sent this way at once."""

    def __init__(self) -> None:
        self._under_way = 0

    async def move(self, transfer: Transfer) -> bool:
        """True if all bytes have been sent; else a pump has to send the rest.

        That is so if the file is large, the client is slow, or the bytes have to be read from disk. Raises
        `SourceFailed` or `ClientGone`, as `Pumps.move` does.
        """
        if transfer.count > _MOST_BYTES or self._under_way == _MOST_AT_ONCE:
            return False
        self._under_way += 1
        try:
            complete = await _send(transfer)
        except BaseException:
            transfer.close()
            raise
        finally:
            self._under_way -= 1
        if complete:
            transfer.close()
        return complete


async def _send(transfer: Transfer) -> bool:
    with suppress(NotCached, TimeoutError):
        while True:
            go_on = transfer.turn()
            if transfer.moved == transfer.count:
                return True
            if go_on:
                await asyncio.sleep(0)
            else:
                await _writable(transfer.client)
    return False


async def _writable(client: socket.socket) -> None:
    """Wait until the client's socket accepts bytes. Raises `TimeoutError` after 50 ms."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not waiting.done():
            waiting.set_result(None)

    def give_up() -> None:
        if not waiting.done():
            waiting.set_exception(TimeoutError())

    loop.add_writer(client, wake)
    timer = loop.call_later(_WRITABLE_TIMEOUT_S, give_up)
    try:
        await waiting
    finally:
        timer.cancel()
        loop.remove_writer(client)
