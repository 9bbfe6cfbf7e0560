"""The facts about one request that its metrics, log line, entry on the debug page and span need."""

import time
from typing import Any
from urllib.parse import unquote

from heliograph_registry.adapters.http_server.headers import PEER, TRACE, node_named, trace_id_of
from heliograph_registry.adapters.http_server.targets import target_of
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import NOBODY, Source
from heliograph_registry.mirror.domain.target import (
    Blob,
    InvalidTarget,
    ManifestByDigest,
    ManifestByTag,
    Ping,
    Target,
)
from heliograph_shared import telemetry

_KINDS = {Ping: "ping", ManifestByTag: "manifest", ManifestByDigest: "manifest", Blob: "blob"}
_ROUTES = {
    Ping: "/v2/",
    ManifestByTag: "/v2/{name}/manifests/{reference}",
    ManifestByDigest: "/v2/{name}/manifests/{reference}",
    Blob: "/v2/{name}/blobs/{digest}",
}
_MOST_CHARACTERS = 200  # of a header, within a span
_SPAN_HEADERS = {b"user-agent": "user_agent.original", PEER: "heliograph.peer"}


class RequestRecord:
    """`RecordRequests` creates it; the routes and responses fill it in."""

    def __init__(self, scope: Any) -> None:
        """`scope` is an ASGI scope of type `http`."""
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.from_peer = PEER in self.headers
        self.client: str = (scope.get("client") or ("",))[0]
        self.status, self.sent_bytes = 0, 0
        self.source: Source = NOBODY
        self.reason: Reason | None = None
        self.began, self.answered_at = time.perf_counter(), 0.0
        self.trace_id = trace_id_of(self.headers.get(TRACE, b""))
        self.peers, self.resumed_bytes = 0, 0
        self.sent_by: dict[str, int] = {}
        # Do not keep the scope: it refers to this record, and a cycle is only freed by the garbage collector.
        self._raw_path, self._scheme = scope["raw_path"], scope["scheme"]
        self._target: Target | InvalidTarget | None = None

    def answered(self, status: int, source: Source, reason: Reason | None) -> None:
        """The response starts now."""
        self.status, self.source, self.reason = status, source, reason
        self.answered_at = time.perf_counter()

    def relayed(self, node: str, size_bytes: int) -> None:
        """So many bytes of the answer came from this node's registry."""
        self.sent_by[node] = self.sent_by.get(node, 0) + size_bytes
        if self.resumes:
            self.resumed_bytes += size_bytes

    @property
    def target(self) -> Target | InvalidTarget:
        """What the request's route found; for a request that reached no route, parsed from the path."""
        if self._target is None:
            self._target = target_of(self.path, self.query)
        return self._target

    @target.setter
    def target(self, found: Target) -> None:
        self._target = found

    @property
    def kind(self) -> str:
        """The value of the metric label: `ping`, `manifest`, `blob` or `invalid`."""
        return _KINDS.get(type(self.target), "invalid")

    @property
    def peer(self) -> str:
        """The node whose registry sent the request, as it states itself; empty for any other client."""
        return node_named(self.headers[PEER]) if self.from_peer else ""

    @property
    def url(self) -> bytes:
        """The request's target as received (RFC 9112 section 3.2.1)."""
        path: bytes = self._raw_path
        return path + b"?" + self.query if self.query else path

    @property
    def registry(self) -> str | None:
        """The upstream registry; None if the request does not name one."""
        match self.target:
            case ManifestByTag(name=name) | ManifestByDigest(name=name) | Blob(name=name):
                return name.registry
        return None

    @property
    def resumes(self) -> int:
        """How often another peer resumed after one had failed."""
        return max(0, self.peers - 1)

    @property
    def outcome(self) -> str:
        """The value of the metric label for a request that was answered in full."""
        if self.source != NOBODY:
            return self.source.kind
        return "missed" if self.status == 404 else "refused"

    # --- attributes of its span ---------------------------------------------------------------------

    @property
    def route(self) -> str:
        return _ROUTES.get(type(self.target), "")

    @property
    def trace_headers(self) -> dict[str, str]:
        """The headers with the trace context of the caller."""
        return {
            name: self.headers[name.encode()].decode("latin-1")
            for name in telemetry.HEADERS
            if name.encode() in self.headers
        }

    @property
    def first_attributes(self) -> dict[str, str | list[str]]:
        """The span's attributes at its start."""
        attributes: dict[str, str | list[str]] = {
            "http.request.method": self.method,
            "url.scheme": self._scheme,
            "url.path": self.path,
        }
        if self.route:
            attributes["http.route"] = self.route
        if self.query:
            attributes["url.query"] = self.query.decode("latin-1")
        for header, name in _SPAN_HEADERS.items():
            if header in self.headers:
                attributes[name] = unquote(self.headers[header].decode("latin-1"))[:_MOST_CHARACTERS]
        if (wanted := self.headers.get(b"range")) is not None:
            attributes["http.request.header.range"] = [wanted.decode("latin-1")[:_MOST_CHARACTERS]]
        return attributes

    @property
    def last_attributes(self) -> dict[str, str | int | list[str]]:
        """The span's attributes at its end. After a takeover they name each node and its bytes."""
        attributes: dict[str, str | int | list[str]] = {
            "http.response.status_code": self.status,
            "heliograph.source": str(self.source),
            "http.response.body.size": self.sent_bytes,
        }
        if self.reason:
            attributes["heliograph.reason"] = self.reason.value
        if len(self.sent_by) > 1:
            attributes["heliograph.sent_by"] = [f"{node} {count}" for node, count in self.sent_by.items()]
        return attributes


def record_of(scope: Any) -> RequestRecord:
    """The record of the request with this ASGI scope."""
    record: RequestRecord = scope["state"]["record"]
    return record
