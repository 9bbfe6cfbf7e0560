"""This node's registry over HTTP: whether it is ready, whether its port answers, and what it has served."""

import asyncio
import http.client
import os
from urllib.parse import urlsplit

from pydantic import BaseModel

from heliograph_shared import plain_http
from heliograph_shared.address import Address
from heliograph_shared.digest import Digest, parse_digest

_TIMEOUT_S = 2.0
_MAX_REASON_BYTES, _MAX_DIGESTS_BYTES, _MAX_METRICS_BYTES = 1000, 256 << 10, 4 << 20
_REQUESTS = "heliograph_registry_requests_total"


class _Unservable(BaseModel):
    digests: list[str]


class RegistryHttp:
    """`ready_url` is the URL of its `/readyz`, on the same port as `/metrics`; empty: unknown."""

    def __init__(self, ready_url: str) -> None:
        self.ready_url = ready_url

    async def unready_reason(self) -> str:
        """Empty when it is ready."""
        try:
            status, text = await asyncio.to_thread(_get, self.ready_url, _MAX_REASON_BYTES)
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        return "" if status == http.HTTPStatus.OK else f"status {status}, {text.strip()}"

    async def requests(self) -> float | None:
        """Requests answered so far; None if that cannot be read."""
        if not self.ready_url:
            return None
        url = urlsplit(self.ready_url)._replace(path="/metrics", query="").geturl()
        try:
            _, text = await asyncio.to_thread(_get, url, _MAX_METRICS_BYTES)
            samples = [float(line.split()[-1]) for line in text.splitlines() if line.startswith(_REQUESTS)]
        except (OSError, http.client.HTTPException, ValueError):
            return None
        is_defined = f"# TYPE {_REQUESTS.removesuffix('_total')}" in text
        return sum(samples) if is_defined else None

    async def unservable(self) -> frozenset[Digest] | None:
        """Blobs that it could not serve lately; None if that cannot be read: it may be an older version."""
        url = urlsplit(self.ready_url)._replace(path="/unservable", query="").geturl()
        try:
            status, text = await asyncio.to_thread(_get, url, _MAX_DIGESTS_BYTES)
            if status != http.HTTPStatus.OK:
                return None
            return frozenset(map(parse_digest, _Unservable.model_validate_json(text).digests))
        except (OSError, http.client.HTTPException, ValueError):
            return None

    async def unreachable_reason(self, address: str) -> str:
        """Why `host:port` accepts no connection within 2 s; empty if it does."""
        target = Address.parse(address)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                _, writer = await asyncio.open_connection(target.host, target.port)
        except TimeoutError:
            return f"no connection within {_TIMEOUT_S:.0f} s"
        except OSError as error:
            return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        writer.close()
        return ""


def _get(url: str, max_bytes: int) -> tuple[int, str]:
    answer = plain_http.get(url, timeout_s=_TIMEOUT_S, max_bytes=max_bytes)
    return answer.status, answer.body.decode(errors="replace")
