"""One request and what has been answered so far: an ASGI scope and send, as an `Outlet` for bodies."""

import time
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, quote, unquote

import orjson

from heliograph_registry.adapters.copies import Copies
from heliograph_registry.adapters.uvicorn import SPLICE, ZERO_COPY
from heliograph_registry.blobs import NOBODY
from heliograph_registry.domain.manifest import Manifest
from heliograph_registry.domain.ranges import Span
from heliograph_registry.domain.target import (
    Blob,
    InvalidTarget,
    ManifestByDigest,
    ManifestByTag,
    Ping,
    Target,
    parse_target,
)
from heliograph_registry.errors import SourceFailed
from heliograph_registry.ports import LocalBlob, PeerStream
from heliograph_shared import telemetry

Headers = list[tuple[bytes, bytes]]

PEER, TRACE = b"heliograph-peer", b"traceparent"
_KINDS = {Ping: "ping", ManifestByTag: "manifest", ManifestByDigest: "manifest", Blob: "blob"}
_MOST_NOTED = 200  # characters of a header, within a span
_MOST_REMEMBERED = 1024  # characters of a request's target: clients may send ever new ones
_NOTED = {b"user-agent": "user_agent.original", b"heliograph-peer": "heliograph.peer"}
_ROUTES = {
    Ping: "/v2/",
    ManifestByTag: "/v2/{name}/manifests/{reference}",
    ManifestByDigest: "/v2/{name}/manifests/{reference}",
    Blob: "/v2/{name}/blobs/{digest}",
}


class Request:
    def __init__(self, scope: Any, send: Any, copies: Copies) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.from_peer = PEER in self.headers
        self.target = _target(self.path, scope["query_string"])
        self.kind = "invalid" if isinstance(self.target, InvalidTarget) else _KINDS[type(self.target)]
        self.status, self.source, self.reason, self.sent_bytes = 0, NOBODY, "", 0
        self.began, self.answered_at = time.perf_counter(), 0.0
        self.trace_id = trace_id_of(self.headers.get(TRACE, b""))
        self._peers, self._resumed_bytes = 0, 0
        self._scope, self._send, self._copies = scope, send, copies
        self._extensions = scope.get("extensions", {})

    @property
    def peer(self) -> str:
        """The node whose registry asks, as it says itself; empty for any other client."""
        return node_named(self.headers[PEER]) if self.from_peer else ""

    @property
    def url(self) -> bytes:
        """The request's target as it came (RFC 9112 section 3.2.1)."""
        path: bytes = self._scope["raw_path"]
        query: bytes = self._scope["query_string"]
        return path + b"?" + query if query else path

    @property
    def registry(self) -> str | None:
        """Whose image it is, None where the request does not say."""
        match self.target:
            case ManifestByTag(name=name) | ManifestByDigest(name=name) | Blob(name=name):
                return name.registry
        return None

    @property
    def resumed(self) -> tuple[int, int]:
        """How often another peer went on where one had broken off, and how many bytes were sent so."""
        return max(0, self._peers - 1), self._resumed_bytes

    @property
    def route(self) -> str:
        return _ROUTES.get(type(self.target), "")

    @property
    def attributes(self) -> dict[str, str | list[str]]:
        """Of its span, when it begins."""
        attributes: dict[str, str | list[str]] = {
            "http.request.method": self.method,
            "url.scheme": self._scope["scheme"],
            "url.path": self.path,
        }
        if self.route:
            attributes["http.route"] = self.route
        if query := self._scope["query_string"]:
            attributes["url.query"] = query.decode("latin-1")
        for header, name in _NOTED.items():
            if header in self.headers:
                attributes[name] = unquote(self.headers[header].decode("latin-1"))[:_MOST_NOTED]
        if (wanted := self.headers.get(b"range")) is not None:
            attributes["http.request.header.range"] = [wanted.decode("latin-1")[:_MOST_NOTED]]
        return attributes

    @property
    def trace_headers(self) -> dict[str, str]:
        """What says of which trace it is a part."""
        return {
            name: self.headers[name.encode()].decode("latin-1")
            for name in telemetry.HEADERS
            if name.encode() in self.headers
        }

    @property
    def outcome(self) -> dict[str, str | int]:
        """Of its span, when it ends."""
        attributes: dict[str, str | int] = {
            "http.response.status_code": self.status,
            "heliograph.source": self.source,
            "http.response.body.size": self.sent_bytes,
        }
        return attributes | ({"heliograph.reason": self.reason} if self.reason else {})

    async def respond(self, status: int, headers: Headers, body: bytes, source: str) -> None:
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())], source)
        await self.body(b"" if self.method == "HEAD" else body, more=False)

    async def refuse(
        self, status: int, code: str, message: str, *, reason: str, headers: Headers | None = None
    ) -> None:
        self.reason = reason
        body = orjson.dumps({"errors": [{"code": code, "message": message, "detail": {"reason": reason}}]})
        all_headers = [
            (b"content-type", b"application/json"),
            (b"heliograph-reason", reason.encode()),
            *(headers or []),
        ]
        await self.respond(status, all_headers, body, NOBODY)

    async def start(self, status: int, headers: Headers, source: str) -> None:
        self.status, self.source, self.answered_at = status, source, time.perf_counter()
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [*headers, *fixed_headers(source)]}
        )

    async def body(self, piece: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})
        self.sent_bytes += len(piece)

    # --- an `Outlet` for the body of a blob -------------------------------------------------------

    async def write(self, piece: bytes) -> None:
        await self.body(piece, more=True)

    async def send_file(self, blob: LocalBlob, span: Span) -> None:
        if ZERO_COPY in self._extensions:
            await self._move({"type": ZERO_COPY, "file": blob, "offset": span.first, "count": span.count})
            return
        with self._copies.one_more():
            await self._copy(blob, span)

    async def relay(self, stream: PeerStream) -> None:
        self._peers += 1
        before = self.sent_bytes
        try:
            await self._relay(stream)
        finally:
            if self._peers > 1:
                self._resumed_bytes += self.sent_bytes - before

    async def _relay(self, stream: PeerStream) -> None:
        if SPLICE not in self._extensions:
            with self._copies.one_more():
                while piece := await stream.read(self._copies.piece_bytes):
                    await self.write(piece)
            return
        if first := stream.take_first():
            await self.write(first)
        if count := stream.left_bytes:
            before = self.sent_bytes
            splice = {"type": SPLICE, "socket": stream.socket, "count": count, "stall_s": stream.stall_s}
            try:
                await self._move(splice)
            except SourceFailed as error:
                raise stream.failed(error.reason) from error
            finally:
                stream.skip(self.sent_bytes - before)

    async def _copy(self, blob: LocalBlob, span: Span) -> None:
        position = span.first
        while position <= span.last:
            try:
                piece = await blob.read(position, min(self._copies.piece_bytes, span.last + 1 - position))
            except OSError as error:
                raise SourceFailed(str(error)) from error
            if not piece:
                raise SourceFailed("the file is shorter than it was")
            await self.write(piece)
            position += len(piece)

    async def _move(self, message: dict[str, Any]) -> None:
        message["moved"] = 0
        try:
            await self._send(message)
        finally:
            self.sent_bytes += message["moved"]


def _target(path: str, query: bytes) -> Target | InvalidTarget:
    usual = len(path) + len(query) <= _MOST_REMEMBERED
    return _remembered(path, query) if usual else _read(path, query)


def _read(path: str, query: bytes) -> Target | InvalidTarget:
    namespace = None
    try:
        if query:
            named = parse_qs(query.decode("latin-1"), max_num_fields=8, keep_blank_values=True)
            namespace = named.get("ns", [None])[0]
    except ValueError:
        return InvalidTarget(400, "NAME_INVALID", "the query is not usable")
    try:
        return parse_target(path, namespace)
    except InvalidTarget as error:
        return error.with_traceback(None)


_remembered = lru_cache(4096)(_read)


def node_named(header: bytes) -> str:
    """The value of `Heliograph-Peer`."""
    return unquote(header.decode("latin-1"))


def trace_id_of(header: bytes) -> str:
    """Of a caller's `traceparent` (W3C Trace Context section 3.2); empty when there is none."""
    return header[3:35].decode("latin-1") if len(header) >= 55 and header[35:36] == b"-" else ""


def manifest_headers(manifest: Manifest) -> Headers:
    return [
        (b"content-type", manifest.media_type.encode()),
        (b"docker-content-digest", manifest.digest.encode()),
    ]


def fixed_headers(source: str) -> Headers:
    return [
        (b"docker-distribution-api-version", b"registry/2.0"),
        (b"heliograph-source", quote(source).encode()),  # a node may be named as it likes
    ]
