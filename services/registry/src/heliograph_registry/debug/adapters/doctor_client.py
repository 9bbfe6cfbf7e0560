"""Fetches the report of a doctor on this node from `/debug/findings` of its service's admin port."""

import asyncio
import http.client
from urllib.parse import urlsplit

from heliograph_registry.debug.errors import FindingsUnavailable
from heliograph_shared.findings import PATH, InvalidReport, Report, decode

_TIMEOUT_S = 0.5
_MOST_BYTES = 2 << 20  # enough for the largest possible report


class HttpDoctorReports:
    """`service` is its name, `url` its admin port, such as `http://127.0.0.1:9091`."""

    def __init__(self, service: str, url: str) -> None:
        self.service, self._url = service, url

    async def latest(self) -> Report:
        try:
            return decode(await asyncio.to_thread(_get, self._url))
        except InvalidReport as error:
            raise FindingsUnavailable(self._url, f"the response is not a report: {error}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FindingsUnavailable(self._url, str(error) or type(error).__name__) from error


def _get(url: str) -> bytes:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", PATH)
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"answered {response.status} to {PATH}")
        return response.read(_MOST_BYTES)
    finally:
        connection.close()
