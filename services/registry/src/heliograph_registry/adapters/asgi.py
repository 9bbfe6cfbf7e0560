"""`/v2/` as a plain ASGI callable: requests in, the spec's answers out (OCI distribution spec v1.1)."""

import time
from typing import Any
from urllib.parse import parse_qs, quote

import orjson
import structlog
from opentelemetry import trace

from heliograph_registry.adapters.metrics import Metrics
from heliograph_registry.domain.manifest import Manifest
from heliograph_registry.domain.ranges import parse_range
from heliograph_registry.domain.target import (
    Blob,
    InvalidTarget,
    ManifestByDigest,
    ManifestByTag,
    Ping,
    Target,
    parse_target,
)
from heliograph_registry.errors import NotServed, RangeNotSatisfiable
from heliograph_registry.service import LOCAL, BlobAnswer, Mirror
from heliograph_shared import telemetry

log = structlog.get_logger()
tracer = trace.get_tracer("heliograph_registry")

_ROUTES = {
    Ping: "/v2/",
    ManifestByTag: "/v2/{name}/manifests/{reference}",
    ManifestByDigest: "/v2/{name}/manifests/{reference}",
    Blob: "/v2/{name}/blobs/{digest}",
}
_NOBODY = "none"


class Distribution:
    def __init__(self, mirror: Mirror, metrics: Metrics) -> None:
        self._mirror, self._metrics = mirror, metrics

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        request = _Request(scope, send)
        began = time.perf_counter()
        with tracer.start_as_current_span(
            f"{request.method} {request.route}".rstrip(),
            context=telemetry.extract(request.headers),
            kind=trace.SpanKind.SERVER,
            attributes=request.attributes,
            record_exception=False,
        ) as span:
            try:
                await self._answer(request)
            finally:
                span.set_attributes(request.outcome)
                if request.status >= 500:
                    span.set_status(trace.StatusCode.ERROR)
                self._record(request, time.perf_counter() - began)

    def _record(self, request: "_Request", seconds: float) -> None:
        self._metrics.record(
            kind=request.kind,
            source=request.source,
            status=request.status,
            sent_bytes=request.sent_bytes,
            seconds=seconds,
        )
        if request.source == LOCAL or request.from_peer:
            return
        fields = {"path": request.path, "ms": round(seconds * 1000)}
        if request.source != _NOBODY:
            log.info("mirrored", source=request.source, sent_bytes=request.sent_bytes, **fields)
        elif request.status == 404:
            log.info("left to upstream", reason=request.reason, **fields)

    async def _answer(self, request: "_Request") -> None:
        if request.method not in {"GET", "HEAD"}:
            return await request.refuse(405, "UNSUPPORTED", "this mirror is read-only", reason="read-only")
        try:
            match request.target:
                case InvalidTarget() as wrong:
                    await request.refuse(wrong.status, wrong.code, wrong.message, reason="invalid")
                case Ping():
                    await request.respond(200, [(b"content-type", b"application/json")], b"{}", LOCAL)
                case ManifestByTag() | ManifestByDigest() as target:
                    manifest, source = await self._mirror.manifest(target, from_peer=request.from_peer)
                    await _send_manifest(request, manifest, source)
                case Blob() as target:
                    wanted = parse_range(request.headers.get("range"))
                    head = request.method == "HEAD"
                    answer = await self._mirror.blob(
                        target, None if head else wanted, from_peer=request.from_peer, head=head
                    )
                    await _send_blob(request, target, answer)
        except NotServed as error:
            code = "BLOB_UNKNOWN" if request.kind == "blob" else "MANIFEST_UNKNOWN"
            await request.refuse(404, code, "not served by this mirror", reason=error.reason.value)
        except RangeNotSatisfiable as error:
            unsatisfied = (b"content-range", f"bytes */{error.size_bytes}".encode())
            await request.refuse(
                416, "SIZE_INVALID", str(error), reason="range-not-satisfiable", headers=[unsatisfied]
            )
        return None


class _Request:
    """One request, and what has been answered so far."""

    def __init__(self, scope: Any, send: Any) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        self.from_peer = "heliograph-peer" in self.headers
        self.target = _target(scope)
        self.route = _ROUTES.get(type(self.target), "")
        self.kind = "invalid" if isinstance(self.target, InvalidTarget) else _KINDS[type(self.target)]
        self.attributes = {
            "http.request.method": self.method,
            "url.scheme": scope["scheme"],
            "url.path": self.path,
        } | ({"http.route": self.route} if self.route else {})
        self.status, self.source, self.reason, self.sent_bytes = 0, _NOBODY, "", 0
        self._send = send

    @property
    def outcome(self) -> dict[str, str | int]:
        attributes: dict[str, str | int] = {
            "http.response.status_code": self.status,
            "heliograph.source": self.source,
            "http.response.body.size": self.sent_bytes,
        }
        return attributes | ({"heliograph.reason": self.reason} if self.reason else {})

    async def respond(
        self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, source: str
    ) -> None:
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())], source)
        await self.body(b"" if self.method == "HEAD" else body, more=False)

    async def refuse(
        self,
        status: int,
        code: str,
        message: str,
        *,
        reason: str,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        self.reason = reason
        body = orjson.dumps({"errors": [{"code": code, "message": message, "detail": {"reason": reason}}]})
        all_headers = [
            (b"content-type", b"application/json"),
            (b"heliograph-reason", reason.encode()),
            *(headers or []),
        ]
        await self.respond(status, all_headers, body, _NOBODY)

    async def start(self, status: int, headers: list[tuple[bytes, bytes]], source: str) -> None:
        self.status, self.source = status, source
        fixed = (
            (b"docker-distribution-api-version", b"registry/2.0"),
            (b"heliograph-source", quote(source).encode()),  # a node may be named as it likes
        )
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *fixed]})

    async def body(self, piece: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})
        self.sent_bytes += len(piece)


_KINDS = {Ping: "ping", ManifestByTag: "manifest", ManifestByDigest: "manifest", Blob: "blob"}


def _target(scope: Any) -> Target | InvalidTarget:
    query = scope["query_string"].decode("latin-1")
    try:
        namespaces = parse_qs(query, max_num_fields=8, keep_blank_values=True).get("ns", [None])
    except ValueError:
        return InvalidTarget(400, "NAME_INVALID", "the query is not usable")
    try:
        return parse_target(scope["path"], namespaces[0])
    except InvalidTarget as error:
        return error


async def _send_manifest(request: _Request, manifest: Manifest, source: str) -> None:
    headers = [
        (b"content-type", manifest.media_type.encode()),
        (b"docker-content-digest", manifest.digest.encode()),
    ]
    await request.respond(200, headers, manifest.body, source)


async def _send_blob(request: _Request, target: Blob, answer: BlobAnswer) -> None:
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", str(answer.span.count).encode()),
        (b"docker-content-digest", target.digest.encode()),
        (b"accept-ranges", b"bytes"),
    ]
    if answer.partial:
        headers.append((b"content-range", answer.span.content_range.encode()))
    if answer.body is None:
        await request.start(200, headers, answer.source)
        return await request.body(b"", more=False)
    try:
        await request.start(206 if answer.partial else 200, headers, answer.source)
        async for piece in answer.body.pieces():
            await request.body(piece, more=True)
        await request.body(b"", more=False)
    finally:
        answer.body.close()
    return None
