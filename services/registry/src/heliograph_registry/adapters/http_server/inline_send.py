"""Small files, moved on the event loop itself to clients that take them as they come.

To hand one over to a pump costs more than to send it: every system call passes the interpreter's lock on.
"""

import asyncio
import socket
from contextlib import suppress

from heliograph_registry.adapters.http_server.transfer import NotCached, Transfer

_MOST_BYTES = 16 << 20
_MOST_AT_ONCE = 8  # another request waits for a turn of each, at worst
_PATIENCE_S = 0.05


class InlineSender:
    """Counts what is moved this way."""

    def __init__(self) -> None:
        self._under_way = 0

    async def move(self, transfer: Transfer) -> bool:
        """Whether that was all of it; what needs patience, or the disk, is left to a pump.

        Raises `SourceFailed` or `ClientGone`, as `Pumps.move` does.
        """
        if transfer.count > _MOST_BYTES or self._under_way == _MOST_AT_ONCE:
            return False
        self._under_way += 1
        try:
            complete = await _moved(transfer)
        except BaseException:
            transfer.close()
            raise
        finally:
            self._under_way -= 1
        if complete:
            transfer.close()
        return complete


async def _moved(transfer: Transfer) -> bool:
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
    """Raises `TimeoutError` when it takes the client too long."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not waiting.done():
            waiting.set_result(None)

    def give_up() -> None:
        if not waiting.done():
            waiting.set_exception(TimeoutError())

    loop.add_writer(client, wake)
    timer = loop.call_later(_PATIENCE_S, give_up)
    try:
        await waiting
    finally:
        timer.cancel()
        loop.remove_writer(client)
