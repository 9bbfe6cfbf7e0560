"""This node's registry, asked over HTTP whether it is ready."""

import asyncio
import http.client
import urllib.request
from http import HTTPStatus

_TIMEOUT_S = 1.0

# Between two containers of one pod there is no proxy.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RegistryReadyz:
    """Anything but a 200 is a no."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def ready(self) -> bool:
        return await asyncio.to_thread(self._answers)

    def _answers(self) -> bool:
        try:
            with _direct.open(self._url, timeout=_TIMEOUT_S) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except (OSError, http.client.HTTPException):
            return False
