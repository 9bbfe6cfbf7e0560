"""This node's registry, asked over HTTP whether it is ready."""

import asyncio
import http.client
import urllib.request
from http import HTTPStatus

_TIMEOUT_S = 1.0

# No proxy of the environment lies between two containers of one node.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RegistryReadyz:
    """`url` is http or https; any answer but 200 is a no."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def ready(self) -> bool:
        return await asyncio.to_thread(self._answers)

    def _answers(self) -> bool:
        try:
            with _opener.open(self._url, timeout=_TIMEOUT_S) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except (OSError, http.client.HTTPException):
            return False
