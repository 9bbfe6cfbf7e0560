"""A peer's registry that misbehaves as the test wants, byte by byte on a raw socket."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Behaviour = Callable[["Exchange"], Awaitable[None]]


@dataclass
class Exchange:
    """One request to the peer: `head` is the request's head, `writer` is for the answer."""

    head: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def first(self) -> int:
        """The first byte of the requested range; 0 without a range."""
        return self.span(0)[0]

    def span(self, size_bytes: int) -> tuple[int, int]:
        """The first requested byte, and the one after the last."""
        for line in self.head.splitlines():
            if line.lower().startswith("range: bytes="):
                first, _, last = line.partition("=")[2].partition("-")
                if not first:
                    return size_bytes - int(last), size_bytes
                return int(first), int(last) + 1 if last else size_bytes
        return 0, size_bytes

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def begin(self, digest: str, size_bytes: int, *, last: int | None = None) -> None:
        """Send a good head for a blob of `size_bytes`, from the requested offset to its end or `last`."""
        first, last = self.span(size_bytes)[0], size_bytes - 1 if last is None else last
        count = last + 1 - first
        status = "206 Partial Content" if "range: " in self.head.lower() else "200 OK"
        ranged = f"Content-Range: bytes {first}-{last}/{size_bytes}\r\n"
        head = f"HTTP/1.1 {status}\r\nContent-Length: {count}\r\nDocker-Content-Digest: {digest}\r\n"
        await self.send((head + (ranged if status.startswith("206") else "") + "\r\n").encode())

    async def abandoned(self) -> None:
        """Wait until the client closes its side."""
        with suppress(ConnectionError):
            await self.reader.read()

    def reset(self) -> None:
        """Close with an RST."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class BadPeer:
    """`address` is where it listens; `requests` are the heads of the requests it got."""

    behaviour: Behaviour
    address: str = ""
    requests: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["BadPeer"]:
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        self._handlers: set[asyncio.Task[None]] = set()
        try:
            yield self
        finally:
            server.close()
            for handler in self._handlers:
                handler.cancel()
            await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.requests.append(head)
            await self.behaviour(Exchange(head, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._handlers.discard(task)
            writer.close()
