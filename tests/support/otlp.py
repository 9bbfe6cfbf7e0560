"""A receiver of OTLP traces over gRPC and over HTTP, in this process.

It serves from threads of its own: an exporter in the same process may flush while the event loop
is blocked by just that flush.
"""

import gzip
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"

Attribute = str | bool | int | float | bytes | list["Attribute"] | dict[str, "Attribute"] | None


@dataclass(frozen=True, slots=True)
class Link:
    """A span that another one points at. Ids are lower-case hexadecimal."""

    trace_id: str
    span_id: str
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened within a span."""

    name: str
    attributes: Mapping[str, Attribute]
    time_ns: int


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it arrived. `parent_span_id` is empty for a root.

    `kind` is one of internal, server, client, producer, consumer, unspecified; `status` one of
    unset, ok, error. Times are nanoseconds since the epoch.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    attributes: Mapping[str, Attribute]
    links: tuple[Link, ...]
    events: tuple[Event, ...]
    service_name: str
    status: str
    resource: Mapping[str, Attribute]
    start_ns: int
    end_ns: int


class OtlpReceiver:
    """Collects every span exported to `endpoint` while the context is open."""

    def __init__(self) -> None:
        self._spans: list[ReceivedSpan] = []
        self._lock = Lock()
        self._server: grpc.Server | None = None
        self._http: ThreadingHTTPServer | None = None
        self.port = self.http_port = 0

    @property
    def endpoint(self) -> str:
        """The value for OTEL_EXPORTER_OTLP_ENDPOINT, with OTEL_EXPORTER_OTLP_PROTOCOL=grpc."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def http_endpoint(self) -> str:
        """The same with OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf."""
        return f"http://127.0.0.1:{self.http_port}"

    def spans(self, name: str | None = None, service_name: str | None = None) -> list[ReceivedSpan]:
        """What has arrived so far, in the order of arrival."""
        with self._lock:
            return [
                span
                for span in self._spans
                if name in (None, span.name) and service_name in (None, span.service_name)
            ]

    def clear(self) -> None:
        with self._lock:
            self._spans.clear()

    def __enter__(self) -> Self:
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4, thread_name_prefix="otlp"))
        export = grpc.unary_unary_rpc_method_handler(
            self._receive,
            request_deserializer=ExportTraceServiceRequest.FromString,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )
        service = grpc.method_handlers_generic_handler(SERVICE, {"Export": export})
        self._server.add_generic_rpc_handlers((service,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self._http = _http_server(self._receive)
        self.http_port = self._http.server_port
        Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.stop(grace=None).wait()
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()

    def _receive(
        self, request: ExportTraceServiceRequest, _context: grpc.ServicerContext | None = None
    ) -> ExportTraceServiceResponse:
        spans = _decode(request)
        with self._lock:
            self._spans.extend(spans)
        return ExportTraceServiceResponse()


def _http_server(
    receive: Callable[[ExportTraceServiceRequest], ExportTraceServiceResponse],
) -> ThreadingHTTPServer:
    """OTLP/HTTP with protobuf, plain or gzipped (OTLP specification, "OTLP/HTTP Request")."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            known = self.path == "/v1/traces"
            answer = receive(ExportTraceServiceRequest.FromString(body)) if known else None
            reply = answer.SerializeToString() if answer is not None else b""
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            """Tests have enough to say."""

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def _decode(request: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    return [
        _span(span, _attributes(batch.resource.attributes))
        for batch in request.resource_spans
        for scope in batch.scope_spans
        for span in scope.spans
    ]


def _span(span: trace_pb2.Span, resource: Mapping[str, Attribute]) -> ReceivedSpan:
    return ReceivedSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        attributes=_attributes(span.attributes),
        links=tuple(
            Link(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links
        ),
        events=tuple(
            Event(event.name, _attributes(event.attributes), event.time_unix_nano) for event in span.events
        ),
        service_name=str(resource.get("service.name", "")),
        status=trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_").lower(),
        resource=resource,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Attribute]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Attribute:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return {**_attributes(value.kvlist_value.values)}
        case kind:
            plain: Attribute = getattr(value, kind)
            return plain


def exporting_to(receiver: OtlpReceiver, *, http: bool = False) -> dict[str, str]:
    """The environment that makes a process export its spans there, soon."""
    protocol = "http/protobuf" if http else "grpc"
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint if http else receiver.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
