"""What a doctor of this node has found, as its service tells it at `/debug/findings` of its admin port."""

import asyncio
import http.client
from urllib.parse import urlsplit

from heliograph_registry.debug.errors import FindingsUnavailable
from heliograph_shared.findings import PATH, InvalidReport, Report, decode

_TIMEOUT_S = 0.5
_MOST_BYTES = 2 << 20  # as many findings as there may be, of the longest texts


class HttpDoctor:
    """`service` is its name, `url` its admin port, such as `http://127.0.0.1:9091`."""

    def __init__(self, service: str, url: str) -> None:
        self.service, self._url = service, url

    async def report(self) -> Report:
        try:
            return decode(await asyncio.to_thread(_get, self._url))
        except InvalidReport as error:
            raise FindingsUnavailable(self._url, f"the answer is not a report: {error}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FindingsUnavailable(self._url, str(error) or type(error).__name__) from error


def _get(url: str) -> bytes:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", PATH)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"answered {answer.status} to {PATH}")
        return answer.read(_MOST_BYTES)
    finally:
        connection.close()
