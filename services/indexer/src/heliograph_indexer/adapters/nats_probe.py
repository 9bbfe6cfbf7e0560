"""Probes the bus over its own connection: whether it can be reached, and what the server's time is.

The time comes from `$SYS.REQ.USER.INFO`, which every user may request unless its permissions exclude it.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from ipaddress import ip_address

from nats.errors import Error as NatsError

from heliograph_indexer.domain.environment_checks import BusStatus
from heliograph_shared import bus
from heliograph_shared.bus_client import NO_ACCESS, Access, Client
from heliograph_shared.runtime import StartupError

_TIMEOUT_S, _MAX_TIMEOUT_S = 5.0, 20.0
_TIME_TIMEOUT_S = 1.0
_TIME_SUBJECT = "$SYS.REQ.USER.INFO"
_INBOX = "_INBOX_heliograph_indexer"


class NatsProbe:
    """`servers` are URLs, `now` is this machine's clock in seconds since 1970."""

    def __init__(
        self,
        servers: Sequence[str],
        access: Access = NO_ACCESS,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._servers, self._access, self._now = list(servers), access, now
        self._may_ask_time = True

    @property
    def shown(self) -> list[str]:
        """The servers without credentials."""
        return [server.rpartition("@")[2] for server in self._servers]

    async def ask(self) -> BusStatus:
        """The status at the first server that accepts this node; within 5 s per server, 20 s at most."""
        connected, errors = asyncio.Event(), dict[str, None]()

        async def on_connect(_: Client) -> None:
            connected.set()

        try:
            async with bus.connect(
                self._servers,
                name="heliograph-indexer doctor",
                on_connect=on_connect,
                access=self._access,
                on_error=lambda reason: errors.setdefault(reason),
            ) as client:
                try:
                    async with asyncio.timeout(min(_TIMEOUT_S * len(self._servers), _MAX_TIMEOUT_S)):
                        await connected.wait()
                except TimeoutError:
                    return BusStatus("; ".join(list(errors)[:3]) or "no answer")
                return BusStatus(ahead_s=await self._ahead_s(client), local=await _is_local(client))
        except* StartupError as group:
            refused = str(group.exceptions[0])
        return BusStatus(refused)

    async def _ahead_s(self, client: Client) -> float | None:
        """How far this clock is ahead. The inbox is the one that the indexer's permissions allow."""
        if not self._may_ask_time:
            return None
        inbox, before = f"{_INBOX}.{uuid.uuid4().hex}", self._now()
        try:
            answers = await client.subscribe(inbox, max_msgs=1)
            await client.publish(_TIME_SUBJECT, reply=inbox)
            answer = await answers.next_msg(timeout=_TIME_TIMEOUT_S)
            server_time = datetime.fromisoformat(_microseconds(json.loads(answer.data)["server"]["time"]))
        except (NatsError, TimeoutError, ValueError, LookupError, TypeError):
            self._may_ask_time = False  # the server logs each refusal
            return None
        return (before + self._now()) / 2 - server_time.timestamp()


def _microseconds(text: str) -> str:
    """Cut Go's nanoseconds, which Python's parser rejects, to microseconds."""
    head, _, fraction = text.rstrip("Z").partition(".")
    return f"{head}.{fraction[:6].ljust(6, '0')}+00:00"


async def _is_local(client: Client) -> bool:
    url = client.connected_url
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.hostname if url else None, 0)
    except OSError:
        return False
    return all(ip_address(str(target[0])).is_loopback for *_, target in found)
