"""Tracing by the standard `OTEL_*` settings; without an endpoint nothing is loaded and nothing is sent.

Spans come from `opentelemetry.trace.get_tracer` as everywhere; this module only sets up where they go,
and carries the W3C context into and out of headers.
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
    """Whether spans are exported (OpenTelemetry specification, environment variables)."""
    endpoint = _endpoint()
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return bool(endpoint) and not disabled and os.environ.get("OTEL_TRACES_EXPORTER") != "none"


def exporting() -> bool:
    """Whether `tracing` is under way, and on."""
    return _exporting.is_set()


def follows_parents() -> bool:
    """Whether a caller that is not traced settles that its request is not, either."""
    return os.environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on").startswith("parentbased_")


@contextmanager
def tracing(service: str, node: str = "", *, instance: str = "") -> Iterator[None]:
    """Export the process's spans while the body runs; what is left is flushed after it, for 5 s.

    `instance` tells the processes of a service apart; one that belongs to a `node` is named for it.
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
        give_up = Timer(_FLUSH_S, exporter.shutdown)  # by itself it would try for half a minute
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
    """The current span of the body, which says itself what `failed`; nothing while no spans are exported.

    Even a span that does nothing costs some 15 us, as much as a tenth of a small answer.
    """
    if not exporting():
        return nullcontext(trace.INVALID_SPAN)
    return tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    )


def inject(context: Context | None = None) -> dict[str, str]:
    """`traceparent` and `tracestate` of the current span; empty outside of one."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    return carrier


def extract(headers: Mapping[str, str]) -> Context:
    """The caller's context; a malformed or absent `traceparent` starts a new trace."""
    return _propagator.extract(headers)


def failed(span: trace.Span, error: BaseException, kind: str = "") -> None:
    """Note why the work of `span` ended early; `kind` is a short name, the error's class if empty.

    Being cancelled is not taken for an error: somebody else was quicker, or nobody waits any more.
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
    """As set; else what the endpoint's port is registered for, gRPC when it does not tell."""
    chosen = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    if chosen:
        return chosen
    return "http/protobuf" if urlsplit(_endpoint()).port == _OTLP_HTTP_PORT else "grpc"
