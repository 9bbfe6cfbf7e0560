"""A registry on a real socket that can be told to misbehave; its good behaviour is that of the real ones.

`tests/integration/test_cli_pull.py` holds it to the same facts as docker-registry and Heliograph's own.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from heliograph_shared.digest import Digest, digest_of


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    namespace: str
    headers: dict[str, str]


@dataclass
class FakeRegistry:
    """`blobs` by digest, `tags` by name; the rest is how it misbehaves.

    `cuts` are the lengths after which the next bodies of a blob end; `refusals` the reasons by digest or tag.
    """

    blobs: dict[str, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    cuts: dict[str, list[int]] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    ignores_ranges: bool = False
    knows_head: bool = True
    redirects_to: str = ""
    url: str = ""

    def put(self, body: bytes, media_type: str = "application/octet-stream") -> dict[str, object]:
        """Keep a blob or manifest; gives its descriptor."""
        digest = digest_of(body)
        self.blobs[digest] = body
        self.types[digest] = media_type
        return {"mediaType": media_type, "digest": digest, "size": len(body)}

    def put_json(self, media_type: str, fields: dict[str, object]) -> dict[str, object]:
        return self.put(json.dumps({"mediaType": media_type, **fields}).encode(), media_type)

    def ranges(self, digest: object) -> list[str]:
        """The ranges that were asked for a blob, empty for the whole."""
        return [
            request.headers.get("range", "") for request in self.asked if request.path.endswith(str(digest))
        ]

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["FakeRegistry"]:
        handlers: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._handle(reader, writer))
            handlers.add(task)
            task.add_done_callback(handlers.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            server.close()
            for handler in handlers:
                handler.cancel()
            await asyncio.gather(*handlers, return_exceptions=True)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            split = urlsplit(target)
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name
            }
            namespace = parse_qs(split.query).get("ns", [""])[0]
            request = Request(method, split.path, namespace, headers)
            self.asked.append(request)
            for piece in self._answer(request, target):
                writer.write(piece)
                await writer.drain()
        writer.close()

    def _answer(self, request: Request, target: str) -> Iterable[bytes]:
        name = request.path.rpartition("/")[2]
        if self.redirects_to:
            return [_head(307, {"Location": f"{self.redirects_to}{target}", "Content-Length": "0"})]
        if reason := self.refusals.get(name):
            return _refused(reason)
        if request.method == "HEAD" and not self.knows_head:
            return [_head(405, {"Content-Length": "0"})]
        digest = self.tags.get(name, name)
        body = self.blobs.get(digest)
        if body is None:
            return _refused("")
        return self._body(request, str(digest), body)

    def _body(self, request: Request, digest: str, body: bytes) -> Iterable[bytes]:
        first, status = 0, 200
        headers = {
            "Content-Type": self.types.get(digest, "application/octet-stream"),
            "Docker-Content-Digest": digest,
        }
        if (asked := request.headers.get("range")) and not self.ignores_ranges:
            first, status = int(asked.removeprefix("bytes=").partition("-")[0]), 206
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        headers["Content-Length"] = str(len(body) - first)
        yield _head(status, headers)
        if request.method == "GET":
            cuts = self.cuts.get(digest, [])
            yield body[first : first + cuts.pop(0)] if cuts else body[first:]


def _refused(reason: str) -> list[bytes]:
    body = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
    headers = {"Content-Length": str(len(body))} | ({"Heliograph-Reason": reason} if reason else {})
    return [_head(404, headers), body]


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} status", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()
