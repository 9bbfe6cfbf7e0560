"""This node's registry, looked at from outside: whether its port answers, and what it says of itself."""

import asyncio
import http.client
import os
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from heliograph_shared.address import Address

_TIMEOUT_S = 2.0
_MAX_BYTES = 4 << 20
_REQUESTS = "heliograph_registry_requests_total"

# No proxy of the environment lies between two containers of one node.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class RegistryProbe:
    """`ready_url` is that of its `/readyz`, beside which it has `/metrics`; empty where it is not known."""

    def __init__(self, ready_url: str) -> None:
        self.ready_url = ready_url

    async def unready_reason(self) -> str:
        """Empty when it is ready."""
        try:
            status, body = await asyncio.to_thread(_got, self.ready_url)
        except (OSError, http.client.HTTPException) as error:
            return str(error)
        return "" if status == http.HTTPStatus.OK else f"status {status}, {body.strip()}"

    async def requests(self) -> float | None:
        """How many it has answered; None where it does not tell."""
        if not self.ready_url:
            return None
        url = urlsplit(self.ready_url)._replace(path="/metrics", query="").geturl()
        try:
            _, body = await asyncio.to_thread(_got, url)
            samples = [float(line.split()[-1]) for line in body.splitlines() if line.startswith(_REQUESTS)]
        except (OSError, http.client.HTTPException, ValueError):
            return None
        known = f"# TYPE {_REQUESTS.removesuffix('_total')}" in body
        return sum(samples) if known else None

    async def unreachable_reason(self, address: str) -> str:
        """Why no connection to `host:port` is made within 2 s; empty when it is."""
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


def _got(url: str) -> tuple[int, str]:
    try:
        with _opener.open(url, timeout=_TIMEOUT_S) as answer:
            return answer.status, answer.read(_MAX_BYTES).decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(1000).decode(errors="replace")
