"""The bus, looked at by a connection of its own: whether it is reached, and what time it is there.

The time comes from `$SYS.REQ.USER.INFO`, which every user may ask unless his permissions leave it out.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from ipaddress import ip_address

from nats.aio.client import Client
from nats.errors import Error as NatsError

from heliograph_indexer.domain.surroundings import BusAnswer

_CONNECT_TIMEOUT_S = 2
_TIMEOUT_S = 5.0
_SERVERS_MOST = 8
_TIME_TIMEOUT_S = 1.0
_INBOX = b"_INBOX_heliograph_indexer"


class NatsProbe:
    """`servers` are URLs, `now` is this machine's clock in seconds since 1970."""

    def __init__(self, servers: Sequence[str], now: Callable[[], float] = time.time) -> None:
        self._servers, self._now = list(servers), now
        self._may_ask_time = True

    @property
    def shown(self) -> list[str]:
        """Without credentials."""
        return [server.rpartition("@")[2] for server in self._servers]

    async def ask(self) -> BusAnswer:
        """Of the first server that lets this node in; each is given some 5 s."""
        reasons = []
        for server in self._servers[:_SERVERS_MOST]:
            answer = await self._ask(server)
            if not answer.reason:
                return answer
            reasons.append(answer.reason)
        return BusAnswer("; ".join(dict.fromkeys(reasons)))

    async def _ask(self, server: str) -> BusAnswer:
        client, trouble = Client(), list[str]()

        async def note(error: Exception) -> None:
            trouble.append(str(error) or type(error).__name__)

        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await client.connect(
                    servers=[server],
                    name="heliograph-indexer doctor",
                    error_cb=note,
                    connect_timeout=_CONNECT_TIMEOUT_S,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    inbox_prefix=_INBOX,
                )
                return BusAnswer(ahead_s=await self._ahead_s(client), local=await _is_local(client))
        except (NatsError, OSError, ValueError) as error:
            reason = trouble[0] if trouble else str(error)
            return BusAnswer(reason or type(error).__name__)
        finally:
            with suppress(NatsError, OSError, TimeoutError):
                await asyncio.wait_for(client.close(), _CONNECT_TIMEOUT_S)

    async def _ahead_s(self, client: Client) -> float | None:
        if not self._may_ask_time:
            return None
        before = self._now()
        try:
            answer = await client.request("$SYS.REQ.USER.INFO", timeout=_TIME_TIMEOUT_S)
            told = datetime.fromisoformat(_microseconds(json.loads(answer.data)["server"]["time"]))
        except (NatsError, TimeoutError, ValueError, LookupError, TypeError):
            self._may_ask_time = False  # each refusal is a line in the server's log
            return None
        return (before + self._now()) / 2 - told.timestamp()


def _microseconds(text: str) -> str:
    """Go's nanoseconds, which Python does not read."""
    head, _, fraction = text.rstrip("Z").partition(".")
    return f"{head}.{fraction[:6].ljust(6, '0')}+00:00"


async def _is_local(client: Client) -> bool:
    url = client.connected_url
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.hostname if url else None, 0)
    except OSError:
        return False
    return all(ip_address(str(target[0])).is_loopback for *_, target in found)
