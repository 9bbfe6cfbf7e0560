"""Asks another service of this node over HTTP whether it is ready."""

import asyncio
import http.client
from http import HTTPStatus

from heliograph_shared import plain_http

_TIMEOUT_S = 1.0


class Readyz:
    """`url` is http or https; any status but 200 means not ready."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def ready(self) -> bool | None:
        """None without an answer within a second: the service may be busy, or hang."""
        return await asyncio.to_thread(self._ready)

    def _ready(self) -> bool | None:
        try:
            answer = plain_http.get(self._url, timeout_s=_TIMEOUT_S, max_bytes=0)
        except TimeoutError:
            return None
        except (OSError, http.client.HTTPException):
            return False
        return answer.status == HTTPStatus.OK
