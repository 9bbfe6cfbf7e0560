"""Another service of this node, asked over HTTP whether it is ready."""

import asyncio
import http.client
import urllib.error
import urllib.request
from http import HTTPStatus

_TIMEOUT_S = 1.0

# No proxy of the environment lies between two containers of one node.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Readyz:
    """`url` is http or https; any answer but 200 is a no."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def ready(self) -> bool | None:
        """None where nothing is said within a second: it may be busy, or hang."""
        return await asyncio.to_thread(self._answer)

    def _answer(self) -> bool | None:
        try:
            with _direct.open(self._url, timeout=_TIMEOUT_S) as answer:
                return bool(answer.status == HTTPStatus.OK)
        except TimeoutError:
            return None
        except urllib.error.URLError as error:
            return None if isinstance(error.reason, TimeoutError) else False
        except (OSError, http.client.HTTPException):
            return False
