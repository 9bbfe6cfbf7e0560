"""Stands in for an indexer whose doctor has found something: `/debug/findings` of its admin port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

FINDINGS = [
    {
        "check": "discard-unpacked-layers",
        "severity": "error",
        "problem": "containerd throws layers away once they are unpacked",
        "seen": "discard_unpacked_layers is true in `containerd config dump`",
        "remedy": "set `discard_unpacked_layers = false` and restart containerd",
    },
    {
        "check": "clock",
        "severity": "warning",
        "problem": "the clock is 90 s behind",
        "seen": "the router refused a message of this node",
        "remedy": "run a time service such as chrony",
    },
]


@asynccontextmanager
async def serve_findings() -> AsyncIterator[str]:
    """Gives the URL of the admin port."""
    body = orjson.dumps(FINDINGS)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        found = path == b"/debug/findings"
        status, content = (b"200 OK", body) if found else (b"404 Not Found", b"")
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(content), content))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
