"""A proxy to an upstream registry, which limits the rate of all its connections together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_PIECE_BYTES = 64 << 10


class Uplink:
    """`sent_bytes` counts bytes sent to clients; a test may reset it."""

    def __init__(self, port: int, bytes_s: float) -> None:
        self._port, self._bytes_s = port, bytes_s
        self._free_at_s = 0.0
        self.sent_bytes = 0
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Uplink"]:
        """Listen on a free port of 127.0.0.1, and forward to `port`."""
        server = await asyncio.start_server(self._connected, "127.0.0.1")
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            with suppress(ConnectionError):
                await asyncio.gather(
                    _pass(client, to_upstream), self._pass_slowly(upstream, to_client), return_exceptions=True
                )
        finally:
            to_upstream.close()
            to_client.close()

    async def _pass_slowly(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        while piece := await source.read(_PIECE_BYTES):
            self._free_at_s = max(self._free_at_s, clock()) + len(piece) / self._bytes_s
            await asyncio.sleep(self._free_at_s - clock())
            self.sent_bytes += len(piece)
            target.write(piece)
            await target.drain()
        target.close()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while piece := await source.read(_PIECE_BYTES):
        target.write(piece)
        await target.drain()
    target.close()
