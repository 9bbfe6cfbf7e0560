"""A TCP connection that can be slow, silent or cut: a forwarder to a port on this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_PIECE_BYTES = 64 << 10


class Wire:
    """`delay_s` delays what the far end sends. While `silent`, nothing passes, and connections stay open."""

    def __init__(self, far_port: int) -> None:
        self._far_port = far_port
        self.delay_s = 0.0
        self._passes = asyncio.Event()
        self._passes.set()
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def silent(self) -> bool:
        return not self._passes.is_set()

    @silent.setter
    def silent(self, silent: bool) -> None:
        if silent:
            self._passes.clear()
        else:
            self._passes.set()

    def cut(self) -> None:
        """Close all connections, and close new ones at once."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def restore(self) -> None:
        self._is_cut = False

    async def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if not self._is_cut:
                await self._forward(reader, writer)
        writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far_port)
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            await asyncio.gather(
                self._pass(reader, far_writer, slow=False), self._pass(far_reader, writer, slow=True)
            )
        finally:
            self._writers -= ends
            far_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            if slow:
                await asyncio.sleep(self.delay_s)
            await self._passes.wait()
            writer.write(piece)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def wire(far_port: int) -> AsyncIterator[Wire]:
    """Forwards connections to `Wire.port` while the body runs."""
    made = Wire(far_port)
    server = await asyncio.start_server(made.accepted, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.cut()
