"""The bus, looked at by a connection of its own: whether it is reached, and what time it is there.

The time comes from `$SYS.REQ.USER.INFO`, which every user may ask unless his permissions leave it out.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from ipaddress import ip_address

from nats.errors import Error as NatsError

from heliograph_indexer.domain.surroundings import BusAnswer
from heliograph_shared import bus
from heliograph_shared.bus_client import NO_ACCESS, Access, Client
from heliograph_shared.runtime import StartupError

_TIMEOUT_S, _MOST_S = 5.0, 20.0
_TIME_TIMEOUT_S = 1.0
_TIME = "$SYS.REQ.USER.INFO"
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
        """Without credentials."""
        return [server.rpartition("@")[2] for server in self._servers]

    async def ask(self) -> BusAnswer:
        """Of the first server that lets this node in, within 5 s for each, 20 s at most."""
        connected, trouble = asyncio.Event(), dict[str, None]()

        async def note(_: Client) -> None:
            connected.set()

        try:
            async with bus.connect(
                self._servers,
                name="heliograph-indexer doctor",
                on_connect=note,
                access=self._access,
                on_error=lambda reason: trouble.setdefault(reason),
            ) as client:
                try:
                    async with asyncio.timeout(min(_TIMEOUT_S * len(self._servers), _MOST_S)):
                        await connected.wait()
                except TimeoutError:
                    return BusAnswer("; ".join(list(trouble)[:3]) or "no answer")
                return BusAnswer(ahead_s=await self._ahead_s(client), local=await _is_local(client))
        except* StartupError as group:
            refused = str(group.exceptions[0])
        return BusAnswer(refused)

    async def _ahead_s(self, client: Client) -> float | None:
        """Asked on an inbox of this role, as permissions name it."""
        if not self._may_ask_time:
            return None
        inbox, before = f"{_INBOX}.{uuid.uuid4().hex}", self._now()
        try:
            answers = await client.subscribe(inbox, max_msgs=1)
            await client.publish(_TIME, reply=inbox)
            answer = await answers.next_msg(timeout=_TIME_TIMEOUT_S)
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
