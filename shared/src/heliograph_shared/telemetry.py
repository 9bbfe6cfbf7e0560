"""Tracing by the standard `OTEL_*` settings; without an endpoint no exporter is loaded and nothing is sent.

Spans are made with `opentelemetry.trace.get_tracer` as usual. This module sets up their export, and reads and
writes the W3C trace context in headers.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from threading import Event, Timer
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

HEADERS = ("traceparent", "tracestate")

_exporting = Event()
_propagator = TraceContextTextMapPropagator()
_OTLP_HTTP_PORT = 4318
_FLUSH_S = 5.0
_MOST_DESCRIPTION = 200


def enabled() -> bool:
    """True if the environment asks for export (OpenTelemetry specification, environment variables)."""
    endpoint = _endpoint()
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return bool(endpoint) and not disabled and os.environ.get("OTEL_TRACES_EXPORTER") != "none"


def exporting() -> bool:
    """True inside of `tracing`, if it is enabled."""
    return _exporting.is_set()


def follows_parents() -> bool:
    """True if a request is never traced when its caller decided not to trace."""
    return os.environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").startswith("parentbased_")


@contextmanager
def tracing(service: str, node: str = "", *, instance: str = "") -> Iterator[None]:
    """Export the process's spans while the body runs, then flush the rest for at most 5 s.

    `instance` distinguishes the processes of a service; it defaults to `node`.
    """
    if not enabled():
        yield
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

    exporter: SpanExporter
    if _protocol() == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter as HttpExporter,
        )

        exporter = HttpExporter()
    else:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
            OTLPSpanExporter as GrpcExporter,
        )

        exporter = GrpcExporter()
    attributes = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME", service),
        "service.namespace": "heliograph",
        "service.version": version("heliograph-shared"),
    }
    if instance or node:
        attributes["service.instance.id"] = instance or node
    if node:
        attributes["k8s.node.name"] = node
    provider = TracerProvider(resource=Resource.create(attributes))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    _exporting.set()
    try:
        yield
    finally:
        _exporting.clear()
        give_up = Timer(_FLUSH_S, exporter.shutdown)  # on its own it would retry for 30 s
        give_up.start()
        provider.shutdown()
        give_up.cancel()


def span(
    tracer: trace.Tracer,
    name: str,
    *,
    kind: trace.SpanKind = trace.SpanKind.INTERNAL,
    attributes: Mapping[str, str | int] | None = None,
) -> AbstractContextManager[trace.Span]:
    """A current span for the body, which reports errors by `failed`; no span while none are exported.

    Even a span that is not exported costs 15 us, a tenth of a small answer.
    """
    if not exporting():
        return nullcontext(trace.INVALID_SPAN)
    return tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    )


def inject(context: Context | None = None) -> dict[str, str]:
    """`traceparent` and `tracestate` of the current span; empty without one."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    return carrier


def extract(headers: Mapping[str, str]) -> Context:
    """The caller's context; a malformed or absent `traceparent` starts a new trace."""
    return _propagator.extract(headers)


def failed(span: trace.Span, error: BaseException, kind: str = "") -> None:
    """Record why the work of `span` failed; `kind` is a short name, by default the error's class.

    Cancellation is not an error: somebody else was faster, or nobody waits any more.
    """
    span.set_attribute("error.type", kind or type(error).__name__)
    if isinstance(error, Exception):
        span.set_status(trace.StatusCode.ERROR, str(error)[:_MOST_DESCRIPTION])


def _endpoint() -> str:
    return (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or ""
    )


def _protocol() -> str:
    """The protocol that is set, else the one of the endpoint's port, else gRPC."""
    chosen = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    if chosen:
        return chosen
    return "http/protobuf" if urlsplit(_endpoint()).port == _OTLP_HTTP_PORT else "grpc"
