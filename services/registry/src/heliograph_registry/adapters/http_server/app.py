"""The data port as a FastAPI application: `/v2/` of the OCI distribution spec v1.1, read-only.

Routes are plain functions from request to response: a route with injected dependencies costs 114 us a call
(ADR 25). Exception handlers turn the mirror's errors into the spec's error JSON.
"""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from heliograph_registry.adapters.http_server.basic_auth import BasicAuth
from heliograph_registry.adapters.http_server.manifest_cache import ManifestCache
from heliograph_registry.adapters.http_server.middleware import RecordRequests, TraceRequests
from heliograph_registry.adapters.http_server.outlet import CopyBudget
from heliograph_registry.adapters.http_server.record import record_of
from heliograph_registry.adapters.http_server.responses import (
    BlobResponse,
    ErrorResponse,
    ManifestResponse,
    PingResponse,
)
from heliograph_registry.adapters.http_server.targets import REGISTRY, blob_of, manifest_of, target_of
from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.mirror.domain.ranges import parse_range
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.request_log import RequestLog
from heliograph_registry.mirror.domain.source import LOCAL
from heliograph_registry.mirror.domain.target import Blob, InvalidTarget, ManifestByDigest, Ping, unsupported
from heliograph_registry.mirror.errors import Busy, NotServed, RangeNotSatisfiable
from heliograph_registry.mirror.mirror import Mirror
from heliograph_shared import telemetry

_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
}  # `TraceRequests` and `RecordRequests` do that


def data_app(
    mirror: Mirror,
    metrics: RegistryMetrics,
    manifest_cache: ManifestCache,
    request_log: RequestLog,
    auth: BasicAuth | None = None,
) -> FastAPI:
    """`manifest_cache` is filled with the manifests of this node that are served.

    Without `auth` no request is authenticated.
    """
    app = FastAPI(
        openapi_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        middleware=[
            Middleware(RecordRequests, metrics=metrics, request_log=request_log),
            *([Middleware(TraceRequests)] if telemetry.enabled() else []),
            *([auth.middleware()] if auth else []),
        ],
        exception_handlers=_ERRORS,
    )
    routes = _Routes(mirror, manifest_cache)
    for before in ("", f"/{{{REGISTRY}}}"):
        app.add_route(before + "/v2/{name:path}/blobs/{digest}", routes.blob)
        app.add_route(before + "/v2/{name:path}/manifests/{reference}", routes.manifest)
    app.add_route("/{path:path}", routes.others)
    return app


class _Routes:
    def __init__(self, mirror: Mirror, manifest_cache: ManifestCache) -> None:
        self._mirror, self._manifest_cache, self._copies = mirror, manifest_cache, CopyBudget()

    async def manifest(self, request: Request) -> Response:
        record = record_of(request.scope)
        target = record.target = manifest_of(request)
        manifest, source = await self._mirror.manifest(
            target, from_peer=record.from_peer, head=record.method == "HEAD"
        )
        if source == LOCAL and isinstance(target, ManifestByDigest) and not target.name.in_path:
            self._manifest_cache.add(record.url, manifest, target)
        return ManifestResponse(manifest, source)

    async def blob(self, request: Request) -> Response:
        record = record_of(request.scope)
        target = record.target = blob_of(request)
        head = record.method == "HEAD"
        wanted = None if head else parse_range(record.headers.get(b"range", b"").decode("latin-1"))
        answer = await self._mirror.blob(
            target, wanted, from_peer=record.from_peer, head=head, client=record.client
        )
        return BlobResponse(target.digest, answer, self._copies)

    async def others(self, request: Request) -> Response:
        """A ping; for any other path raises the `InvalidTarget` that fits it."""
        match target_of(request.scope["path"], request.scope["query_string"]):
            case Ping():
                return PingResponse()
            case InvalidTarget() as error:
                raise error
        raise unsupported()


async def _invalid(_: Request, error: InvalidTarget) -> Response:
    return ErrorResponse(error.status, error.code, error.message, error.reason)


async def _not_served(request: Request, error: NotServed) -> Response:
    code = "BLOB_UNKNOWN" if isinstance(record_of(request.scope).target, Blob) else "MANIFEST_UNKNOWN"
    return ErrorResponse(404, code, "not served by this mirror", error.reason)


async def _busy(_: Request, error: Busy) -> Response:
    """Not 429: containerd would ask the same host again at once."""
    return ErrorResponse(503, "TOOMANYREQUESTS", str(error), Reason.BUSY)


async def _unsatisfiable(_: Request, error: RangeNotSatisfiable) -> Response:
    size = (b"content-range", f"bytes */{error.size_bytes}".encode())
    return ErrorResponse(416, "SIZE_INVALID", str(error), Reason.RANGE_NOT_SATISFIABLE, [size])


async def _wrong_method(_: Request, error: HTTPException) -> Response:
    """Starlette raises this if the path has a route, but not for this method."""
    allow = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    return ErrorResponse(405, "UNSUPPORTED", "this mirror is read-only", Reason.READ_ONLY, allow)


_ERRORS: dict[int | type[Exception], Callable[[Request, Any], Any]] = {
    405: _wrong_method,
    InvalidTarget: _invalid,
    NotServed: _not_served,
    Busy: _busy,
    RangeNotSatisfiable: _unsatisfiable,
}
