"""What the doctor has found, as this node's indexer serves it at `/debug/findings` of its admin port."""

import asyncio
import http.client
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from heliograph_registry.domain.finding import Finding
from heliograph_registry.errors import FindingsUnavailable

_PATH = "/debug/findings"
_TIMEOUT_S = 0.5
_MOST_BYTES = 256 << 10
_MOST_FINDINGS = 100

_Text = Annotated[str, StringConstraints(max_length=4_000)]


class _Finding(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    check: _Text
    severity: _Text
    problem: _Text
    seen: _Text = ""
    remedy: _Text = ""


_list = TypeAdapter(list[_Finding])


class IndexerFindings:
    def __init__(self, url: str) -> None:
        """`url` is the indexer's admin port, such as `http://127.0.0.1:9091`; empty: nobody is asked."""
        self._url = url

    async def latest(self) -> list[Finding]:
        if not self._url:
            raise FindingsUnavailable(self._url, "HELIOGRAPH_INDEXER_URL is empty")
        try:
            body = await asyncio.to_thread(_get, self._url)
            found = _list.validate_json(body)
        except ValidationError as error:
            raise FindingsUnavailable(self._url, "the answer is not a list of findings") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FindingsUnavailable(self._url, str(error) or type(error).__name__) from error
        return [Finding(**one.model_dump()) for one in found[:_MOST_FINDINGS]]


def _get(url: str) -> bytes:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", _PATH)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise http.client.HTTPException(f"answered {answer.status} to {_PATH}")
        return answer.read(_MOST_BYTES)
    finally:
        connection.close()
