"""Keeps a connection to NATS: reconnects for ever and notices a dead server within seconds.

By default nats-py stops after 60 attempts and takes minutes to notice a dead server. An exception in its
error callback ends its read loop while `is_connected` stays true, so no callback here raises.
"""

import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import structlog
from nats.errors import Error as NatsError

from heliograph_shared.bus_client import CONNECT_TIMEOUT_S, NO_ACCESS, Access, Client
from heliograph_shared.runtime import StartupError, background

log = structlog.get_logger()

_PING_INTERVAL_S = 5
_PENDING_BYTES = 8 << 20
_CLOSE_TIMEOUT_S = 2
_REPEAT_S = 60

OnConnect = Callable[[Client], Awaitable[None]]
OnChange = Callable[[], Awaitable[None]]
OnError = Callable[[str], None]


async def _nothing() -> None:
    return


class _ErrorLog:
    """Logs errors of the connection; one that repeats is logged once a minute."""

    def __init__(self, servers: list[str], on_error: OnError | None) -> None:
        self._servers, self._on_error = servers, on_error
        self._reason, self._at = "", -math.inf

    async def note(self, error: Exception) -> None:
        reason, now = str(error) or type(error).__name__, time.monotonic()
        if self._on_error is not None:
            self._on_error(reason)
            return
        if reason != self._reason or now - self._at > _REPEAT_S:
            self._reason, self._at = reason, now
            log.warning("bus error", servers=self._servers, reason=reason)


class _NoLog:
    def info(self, event: str, **_: object) -> None: ...

    def warning(self, event: str, **_: object) -> None: ...


@asynccontextmanager
async def connect(
    servers: Sequence[str],
    *,
    name: str,
    on_connect: OnConnect,
    on_reconnect: OnChange = _nothing,
    on_disconnect: OnChange = _nothing,
    access: Access = NO_ACCESS,
    inbox_prefix: str = "_INBOX",
    on_error: OnError | None = None,
) -> AsyncIterator[Client]:
    """Yield a client at once and connect it in the background, however long that takes.

    `on_connect` is called once, at the first connection; subscribe there, since nats-py renews subscriptions
    itself. No callback may raise. Do not publish while `client.is_connected` is false. With `on_error`
    errors are passed to it instead of being logged. At the end pending messages are sent and the connection
    is closed. Raises `StartupError` if `servers` are not addresses.
    """
    shown = [_without_secrets(server) for server in servers]
    logged = log if on_error is None else _NoLog()
    client = Client(access)

    async def disconnected() -> None:
        if not client.is_closed:
            logged.warning("bus connection lost, reconnecting", servers=shown)
        await on_disconnect()

    async def reconnected() -> None:
        logged.info("bus connection restored", servers=shown)
        await on_reconnect()

    async def connect_first() -> None:
        if not servers:  # nats-py would search for one in a busy loop
            raise StartupError("no address of a NATS server is given")
        try:
            await connect_until_it_works()
        except (NatsError, ValueError) as error:
            raise StartupError(f"not the address of a NATS server: {shown} ({error})") from error
        logged.info("bus connected", servers=shown)
        await on_connect(client)

    async def connect_until_it_works() -> None:
        await client.connect(
            servers=list(servers),
            name=name,
            inbox_prefix=inbox_prefix,
            error_cb=_ErrorLog(shown, on_error).note,
            disconnected_cb=disconnected,
            reconnected_cb=reconnected,
            connect_timeout=CONNECT_TIMEOUT_S,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_reconnect_wait_s(),  # type: ignore[arg-type]  # typed int, used as seconds
            ping_interval=_PING_INTERVAL_S,
            max_outstanding_pings=2,
            pending_size=_PENDING_BYTES,
            drain_timeout=_CLOSE_TIMEOUT_S,
        )

    try:
        async with background(connect_first()):
            yield client
    finally:
        if client.is_connected:
            await client.drain()
        elif client.options:  # a client that never began to connect cannot be closed
            await client.close()


def _reconnect_wait_s() -> float:
    """Different in every process, so that a cluster does not reconnect all at once."""
    return random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret


def _without_secrets(server: str) -> str:
    return server.rpartition("@")[2]
