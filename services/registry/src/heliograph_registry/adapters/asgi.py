"""`/v2/` as a plain ASGI callable: requests in, the spec's answers out (OCI distribution spec v1.1)."""

import asyncio
import time
from typing import Any

import structlog
from opentelemetry import trace

from heliograph_registry.adapters.answers import Answers
from heliograph_registry.adapters.basic_auth import CHALLENGE, BasicAuth
from heliograph_registry.adapters.copies import Copies
from heliograph_registry.adapters.metrics import Metrics
from heliograph_registry.adapters.request import Request, manifest_headers
from heliograph_registry.blobs import LOCAL, NOBODY, BlobAnswer
from heliograph_registry.domain.journal import Entry, Journal
from heliograph_registry.domain.ranges import parse_range
from heliograph_registry.domain.target import Blob, InvalidTarget, ManifestByDigest, ManifestByTag, Ping
from heliograph_registry.errors import Busy, ClientGone, NotServed, RangeNotSatisfiable, Reason, StreamBroken
from heliograph_registry.service import Mirror
from heliograph_shared import telemetry

_MOST_PATH = 300

log = structlog.get_logger()
tracer = trace.get_tracer("heliograph_registry")


class Distribution:
    def __init__(
        self,
        mirror: Mirror,
        metrics: Metrics,
        answers: Answers,
        journal: Journal,
        auth: BasicAuth | None = None,
    ) -> None:
        """`answers` is told what it may answer by itself from then on, `journal` of every request.

        Without `auth` anyone may ask.
        """
        self._mirror, self._metrics, self._answers, self._journal = mirror, metrics, answers, journal
        self._traced, self._copies, self._auth = telemetry.enabled(), Copies(), auth

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        request = Request(scope, send, self._copies)
        outcome = "failed"
        try:
            await (self._traced_answer(request) if self._traced else self._answer(request))
            outcome = _outcome(request)
        except StreamBroken:
            outcome = "broken"
            raise
        except (ClientGone, asyncio.CancelledError):
            outcome = "abandoned"
            raise
        finally:
            self._record(request, outcome, time.perf_counter() - request.began)

    async def _traced_answer(self, request: Request) -> None:
        with tracer.start_as_current_span(
            f"{request.method} {request.route}".rstrip(),
            context=telemetry.extract(request.trace_headers),
            kind=trace.SpanKind.SERVER,
            attributes=request.attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            request.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
            try:
                await self._answer(request)
            except ClientGone as error:  # which is not our failure
                span.set_attribute("error.type", type(error).__name__)
                raise
            except BaseException as error:
                telemetry.failed(span, error)
                raise
            finally:
                span.set_attributes(request.outcome)
                if request.status >= 500:
                    span.set_attribute("error.type", str(request.status))
                    span.set_status(trace.StatusCode.ERROR)

    def _record(self, request: Request, outcome: str, seconds: float) -> None:
        self._metrics.record(
            registry=request.registry,
            kind=request.kind,
            from_peer=request.from_peer,
            source=request.source,
            outcome=outcome,
            reason=request.reason or NOBODY,
            sent_bytes=request.sent_bytes,
            resumed=request.resumed,
            first_byte_s=request.answered_at - request.began if request.answered_at else None,
            seconds=seconds,
        )
        self._journal.record(
            Entry(
                time.time(),
                request.method,
                request.target,
                request.path[:_MOST_PATH],
                request.peer,
                request.status,
                request.source,
                request.reason,
                request.sent_bytes,
                seconds,
                request.trace_id,
            )
        )
        if request.source == LOCAL or request.from_peer:
            return
        fields = {"path": request.path, "ms": round(seconds * 1000)}
        if request.source != NOBODY:
            log.info("mirrored", source=request.source, sent_bytes=request.sent_bytes, **fields)
        elif request.status == 404:
            log.info("left to upstream", reason=request.reason, **fields)

    async def _answer(self, request: Request) -> None:
        if self._auth is not None and not self._auth.admits(request.headers.get(b"authorization")):
            return await request.refuse(
                401, "UNAUTHORIZED", "user and password needed", reason="unauthorized", headers=[CHALLENGE]
            )
        if request.method not in {"GET", "HEAD"}:
            return await request.refuse(405, "UNSUPPORTED", "this mirror is read-only", reason="read-only")
        try:
            match request.target:
                case InvalidTarget() as wrong:
                    await request.refuse(wrong.status, wrong.code, wrong.message, reason="invalid")
                case Ping():
                    await request.respond(200, [(b"content-type", b"application/json")], b"{}", LOCAL)
                case ManifestByTag() | ManifestByDigest() as target:
                    await self._manifest(request, target)
                case Blob() as target:
                    await self._blob(request, target)
        except NotServed as error:
            code = "BLOB_UNKNOWN" if request.kind == "blob" else "MANIFEST_UNKNOWN"
            await request.refuse(404, code, "not served by this mirror", reason=error.reason.value)
        except Busy as error:  # never 429, which containerd takes for "ask here again, at once"
            await request.refuse(503, "TOOMANYREQUESTS", str(error), reason=Reason.BUSY.value)
        except RangeNotSatisfiable as error:
            unsatisfied = (b"content-range", f"bytes */{error.size_bytes}".encode())
            await request.refuse(
                416, "SIZE_INVALID", str(error), reason="range-not-satisfiable", headers=[unsatisfied]
            )
        return None

    async def _manifest(self, request: Request, target: ManifestByTag | ManifestByDigest) -> None:
        head = request.method == "HEAD"
        manifest, source = await self._mirror.manifest(target, from_peer=request.from_peer, head=head)
        await request.respond(200, manifest_headers(manifest), manifest.body, source)
        if source == LOCAL and isinstance(target, ManifestByDigest):
            self._answers.keep(request.url, manifest, target)

    async def _blob(self, request: Request, target: Blob) -> None:
        head = request.method == "HEAD"
        wanted = None if head else parse_range(request.headers.get(b"range", b"").decode("latin-1"))
        answer = await self._mirror.blob(target, wanted, from_peer=request.from_peer, head=head)
        try:
            await _send_blob(request, target, answer)
        finally:
            answer.close()


def _outcome(request: Request) -> str:
    """Of a request that was answered in full."""
    if request.source != NOBODY:
        return request.source.partition("/")[0]
    return "missed" if request.status == 404 else "refused"


async def _send_blob(request: Request, target: Blob, answer: BlobAnswer) -> None:
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", str(answer.span.count).encode()),
        (b"docker-content-digest", target.digest.encode()),
        (b"accept-ranges", b"bytes"),
    ]
    if answer.partial:
        headers.append((b"content-range", answer.span.content_range.encode()))
    await request.start(206 if answer.partial else 200, headers, answer.source)
    if answer.body is not None:  # else it is a HEAD
        await answer.body.deliver(request)
    await request.body(b"", more=False)
