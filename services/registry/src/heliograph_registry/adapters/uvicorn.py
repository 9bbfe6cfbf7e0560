"""What uvicorn lacks for a mirror: ending a response early with a FIN, and noticing that a client has gone.

A close with unread input sends an RST, which containerd takes for a failed pull; after a FIN it resumes. So a
response that cannot be completed ends with `shutdown(SHUT_WR)`, what still comes in is read and dropped, and
the connection is closed when the client closes it or after a while.
"""

import asyncio
from typing import Any

import orjson
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from heliograph_registry.errors import StreamBroken

log = structlog.get_logger()

_LINGER_S = 5.0


class MirrorProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=...)`: the app may raise `StreamBroken` once it has started its response.

    When the client has gone the app is cancelled, so that no bytes are moved for nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._inner, self.app = self.app, self._guarded
        self._ending = False
        self._answering: asyncio.Task[None] | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # marks a cycle under way as disconnected
        if self._answering is not None:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        if not self._ending:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """What no request could be read from gets the spec's error, and no line in the log."""
        cycle: Any = self.cycle  # None before the first request
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False  # what was asked before is answered first, and nothing after it
            self._ending = True
            return
        body = orjson.dumps({"errors": [{"code": "UNSUPPORTED", "message": msg, "detail": {}}]})
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"heliograph-source: none\r\nheliograph-reason: invalid\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    async def _guarded(self, scope: Any, receive: Any, send: Any) -> None:
        cycle = send.__self__
        self._answering = asyncio.current_task()
        try:
            await self._inner(scope, receive, send)
        except StreamBroken as error:
            log.warning("response cut short", path=scope["path"], reason=str(error))
            self._end_early(cycle)
        except asyncio.CancelledError:
            if not cycle.disconnected:
                log.warning("response cut short", path=scope["path"], reason="shutting down")
                self._end_early(cycle)
        finally:
            self._answering = None

    def _end_early(self, cycle: Any) -> None:
        cycle.disconnected = True  # uvicorn shall not complete, nor close, this response
        self._ending = True
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)
