"""A mirror without content. It records its requests, and answers as the test wants."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.support.ports import free_port

TLS_HANDSHAKE = 0x16
"""RFC 8446, 5.1: the first byte of a ClientHello's record."""


@dataclass(frozen=True, slots=True)
class MirrorRequest:
    """One request. Names in `headers` are in lower case; `certified` if it came with a client certificate."""

    method: str
    path: str
    namespace: str
    headers: Mapping[str, str]
    certified: bool = False

    @property
    def what(self) -> tuple[str, str, str]:
        return self.method, self.path, self.namespace


def not_found(_: MirrorRequest) -> str:
    return "404 Not Found"


@dataclass
class FakeMirror:
    """`answer` gives the status line of each answer, and any header lines after it."""

    url: str
    answer: Callable[[MirrorRequest], str] = not_found
    requests: list[MirrorRequest] = field(default_factory=list)
    tls_hellos: int = 0
    """Connections that began with TLS although the mirror speaks plain HTTP."""
    answers_hellos: bool = False
    """Answers them in plain HTTP, as servers written in Go do: containerd then tries again without TLS."""

    @property
    def asked(self) -> list[tuple[str, str, str]]:
        """(method, path, ns) of each request."""
        return [request.what for request in self.requests]

    def forget(self) -> None:
        self.requests.clear()
        self.tls_hellos = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(1)
            if first[0] == TLS_HANDSHAKE:
                self.tls_hellos += 1
                if self.answers_hellos:
                    writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                    await writer.drain()
                return
            request = _parsed(first + await reader.readuntil(b"\r\n\r\n"), writer)
            self.requests.append(request)
            head = f"HTTP/1.1 {self.answer(request)}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client disconnected
        finally:
            writer.close()


def _parsed(head: bytes, writer: asyncio.StreamWriter) -> MirrorRequest:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    parts = urlsplit(target)
    headers = dict(line.split(": ", 1) for line in lines if line)
    tls = writer.get_extra_info("ssl_object")
    return MirrorRequest(
        method,
        parts.path,
        parse_qs(parts.query).get("ns", [""])[0],
        {name.lower(): value for name, value in headers.items()},
        certified=bool(tls and tls.getpeercert()),
    )


@asynccontextmanager
async def running_mirror(
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    answer: Callable[[MirrorRequest], str] = not_found,
) -> AsyncIterator[FakeMirror]:
    port = free_port(host)
    shown = f"[{host}]" if ":" in host else host
    mirror = FakeMirror(f"{'https' if tls else 'http'}://{shown}:{port}", answer)
    async with await asyncio.start_server(mirror.serve, host, port, ssl=tls):
        yield mirror
