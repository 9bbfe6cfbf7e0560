"""ASGI middleware of the data port: keeps a record of each request for metrics and logs, and traces it."""

import asyncio
import time
from typing import Any

import structlog
from opentelemetry import trace

from heliograph_registry.adapters.http_server.record import RequestRecord, record_of
from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.mirror.domain.request_log import LoggedRequest, RequestLog
from heliograph_registry.mirror.domain.source import LOCAL, NOBODY
from heliograph_registry.mirror.errors import ClientGone, StreamBroken
from heliograph_shared import telemetry

_MOST_PATH = 300

log = structlog.get_logger()
tracer = trace.get_tracer("heliograph_registry")


class RecordRequests:
    """Creates the request's record, and at the end reports it to the metrics, the request log and the log."""

    def __init__(self, app: Any, metrics: RegistryMetrics, request_log: RequestLog) -> None:
        self._app, self._metrics, self._request_log = app, metrics, request_log

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        record = RequestRecord(scope)
        scope.setdefault("state", {})["record"] = record
        outcome = "failed"
        try:
            await self._app(scope, receive, send)
            outcome = record.outcome
        except StreamBroken:
            outcome = "broken"
            raise
        except (ClientGone, asyncio.CancelledError):
            outcome = "abandoned"
            raise
        finally:
            self._report(record, outcome, time.perf_counter() - record.began)

    def _report(self, record: RequestRecord, outcome: str, seconds: float) -> None:
        self._metrics.record(
            registry=record.registry,
            kind=record.kind,
            from_peer=record.from_peer,
            source=record.source,
            outcome=outcome,
            reason=record.reason,
            sent_bytes=record.sent_bytes,
            resumes=record.resumes,
            resumed_bytes=record.resumed_bytes,
            first_byte_s=record.answered_at - record.began if record.answered_at else None,
            seconds=seconds,
        )
        self._request_log.record(
            LoggedRequest(
                time.time(),
                record.method,
                record.target,
                record.path[:_MOST_PATH],
                record.peer,
                record.status,
                record.source,
                record.reason,
                record.sent_bytes,
                seconds,
                record.trace_id,
                tuple(record.sent_by.items()),
            )
        )
        if record.source == LOCAL or record.from_peer:
            return
        fields = {"path": record.path, "ms": round(seconds * 1000)}
        if len(record.sent_by) > 1:  # `source` is only the first of them
            log.info("mirrored", sent_by=record.sent_by, sent_bytes=record.sent_bytes, **fields)
        elif record.source != NOBODY:
            log.info("mirrored", source=str(record.source), sent_bytes=record.sent_bytes, **fields)
        elif record.status == 404:
            log.info("left to upstream", reason=record.reason, **fields)


class TraceRequests:
    """A server span for each request. It needs the record, so it runs inside `RecordRequests`."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        record = record_of(scope)
        with tracer.start_as_current_span(
            f"{record.method} {record.route}".rstrip(),
            context=telemetry.extract(record.trace_headers),
            kind=trace.SpanKind.SERVER,
            attributes=record.first_attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            record.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
            try:
                await self._app(scope, receive, send)
            except ClientGone as error:  # not a failure of this server
                span.set_attribute("error.type", type(error).__name__)
                raise
            except BaseException as error:
                telemetry.failed(span, error)
                raise
            finally:
                span.set_attributes(record.last_attributes)
                if record.status >= 500:
                    span.set_attribute("error.type", str(record.status))
                    span.set_status(trace.StatusCode.ERROR)
