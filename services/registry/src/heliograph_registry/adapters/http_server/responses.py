"""The registry's answers as Starlette responses: ping, manifest, blob, and the spec's error."""

from collections.abc import Sequence
from typing import Any

import orjson
from starlette.responses import Response

from heliograph_registry.adapters.http_server.headers import Headers, fixed_headers, manifest_headers
from heliograph_registry.adapters.http_server.outlet import CopyBudget, ResponseOutlet
from heliograph_registry.adapters.http_server.record import record_of
from heliograph_registry.mirror.blobs import BlobAnswer
from heliograph_registry.mirror.domain.manifest import Manifest
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import LOCAL, NOBODY, Source
from heliograph_shared.digest import Digest

_JSON = (b"content-type", b"application/json")


class RegistryResponse(Response):
    """A response with its body in memory and the headers of every answer. Fills in the request's record."""

    def __init__(
        self,
        status: int,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        source: Source,
        reason: Reason | None = None,
    ) -> None:
        """`headers` must include Content-Length. Starlette's constructor is skipped: it would encode them."""
        self.status_code, self.body, self.background = status, body, None
        self.raw_headers = [*headers, *fixed_headers(source)]
        self.source, self.reason = source, reason

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        record = record_of(scope)
        body = b"" if record.method == "HEAD" else self.body
        record.answered(self.status_code, self.source, self.reason)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": body})
        record.sent_bytes += len(body)


class PingResponse(RegistryResponse):
    """The answer to `/v2/`."""

    def __init__(self) -> None:
        super().__init__(200, [_JSON, (b"content-length", b"2")], b"{}", LOCAL)


class ManifestResponse(RegistryResponse):
    def __init__(self, manifest: Manifest, source: Source) -> None:
        super().__init__(200, manifest_headers(manifest), manifest.body, source)


class ErrorResponse(RegistryResponse):
    """The spec's error JSON (distribution-spec v1.1, "Error Codes")."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        reason: Reason,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        body = orjson.dumps(
            {"errors": [{"code": code, "message": message, "detail": {"reason": reason.value}}]}
        )
        length = (b"content-length", str(len(body)).encode())
        own = (b"heliograph-reason", reason.value.encode())
        super().__init__(status, [_JSON, length, own, *headers], body, NOBODY, reason)


class BlobResponse(Response):
    """A blob or a range of it. The body is sent by the server's zero-copy extensions if they are offered."""

    def __init__(self, digest: Digest, answer: BlobAnswer, copies: CopyBudget) -> None:
        """The response closes `answer` when it has been sent or has failed."""
        self.status_code, self.background = 206 if answer.partial else 200, None
        self.raw_headers = self._all_headers(digest, answer)
        self._answer, self._copies = answer, copies

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        """Raises `StreamBroken` if bytes are missing, `ClientGone` if the client does not accept them."""
        record, answer = record_of(scope), self._answer
        try:
            record.answered(self.status_code, answer.source, None)
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            outlet = ResponseOutlet(scope, send, answer.span.count, record, self._copies)
            if answer.body is not None:  # None for a HEAD
                await answer.body.deliver(outlet)
            await outlet.end()
        finally:
            answer.close()

    @staticmethod
    def _all_headers(digest: Digest, answer: BlobAnswer) -> Headers:
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", str(answer.span.count).encode()),
            (b"docker-content-digest", digest.encode()),
            (b"accept-ranges", b"bytes"),
        ]
        if answer.partial:
            headers.append((b"content-range", answer.span.content_range.encode()))
        return [*headers, *fixed_headers(answer.source)]
