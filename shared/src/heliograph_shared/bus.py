"""A connection to NATS that never gives up, and never dies silently.

nats-py by default stops after 60 attempts and notices a dead server after minutes; and an exception in its
error callback ends its read loop while `is_connected` stays true, so nothing here raises from a callback.
"""

import math
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import structlog
from nats.aio.client import Client, Srv
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError

from heliograph_shared.accounts import Account, reloaded_accounts
from heliograph_shared.reloading import Reloading
from heliograph_shared.runtime import StartupError, background
from heliograph_shared.tls import TlsFiles, client_contexts

log = structlog.get_logger()

_CONNECT_TIMEOUT_S = 2
_PING_INTERVAL_S = 5
_PENDING_BYTES = 8 << 20
_READ_BYTES = 32 << 10
_CLOSE_TIMEOUT_S = 2
_REPEAT_S = 60
_NO_STATUS = b"NATS/1.0\r\n"

_NO_TLS = "the server does not speak TLS"
_DENIED = "permissions violation"

OnConnect = Callable[[Client], Awaitable[None]]
OnChange = Callable[[], Awaitable[None]]
OnTrouble = Callable[[str], None]


async def _nothing() -> None:
    return


class _Trouble:
    """Logs what goes wrong; an attempt a second that fails like the last one is not worth a line each."""

    def __init__(self, servers: list[str], told: OnTrouble | None) -> None:
        self._servers, self._told = servers, told
        self._reason, self._at = "", -math.inf

    async def note(self, error: Exception) -> None:
        reason, now = str(error) or type(error).__name__, time.monotonic()
        if self._told is not None:
            self._told(reason)
            return
        if reason != self._reason or now - self._at > _REPEAT_S:
            self._reason, self._at = reason, now
            log.warning("bus trouble", servers=self._servers, reason=reason)


class _Headers(Mapping[str, str]):
    """Read when somebody looks: most messages of the index are applied without, and parsing costs as much."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    @cached_property
    def _all(self) -> dict[str, str]:
        lines = self._raw.decode("utf-8", "replace").split("\r\n")
        parts = (line.partition(":") for line in lines)
        return {name.strip(): value.strip() for name, colon, value in parts if colon}

    def __getitem__(self, name: str) -> str:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


@dataclass(frozen=True, slots=True)
class Access:
    """What the bus is shown, read anew for each connection, and what it is asked to show."""

    account: Reloading[Sequence[Account]] | None = None
    tls: Reloading[ssl.SSLContext] | None = None

    @classmethod
    def by_files(cls, servers: Sequence[str], user_file: Path | None, tls: TlsFiles) -> "Access":
        """TLS where a URL of `servers` or a file asks for it. Raises `StartupError`."""
        encrypted = bool(tls.paths) or any(server.startswith("tls://") for server in servers)
        return cls(
            reloaded_accounts("nats-user", user_file) if user_file else None,
            client_contexts(tls) if encrypted else None,
        )


NO_ACCESS = Access()


class _Transport(TcpTransport):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    async def connect_tls(self, *args: Any, **kwargs: Any) -> None:
        """After a failure nothing is left: nats-py would wait without end for the close of what is closed."""
        try:
            await super().connect_tls(*args, **kwargs)
        except BaseException:
            if self._io_writer is not None:
                self._io_writer.transport.abort()
                self._io_writer = None
            raise


class _Silence:
    def info(self, event: str, **_: object) -> None: ...

    def warning(self, event: str, **_: object) -> None: ...


class _Client(Client):
    """Takes what anyone may publish: subjects or headers that are not UTF-8 would end nats-py's read loop."""

    def __init__(self, access: Access) -> None:
        super().__init__()
        self._access = access

    @property
    def ssl_context(self) -> ssl.SSLContext:
        return super().ssl_context if self._access.tls is None else self._access.tls.current()

    async def _connect_to_server(self, s: Srv) -> None:
        if s.uri.scheme in {"ws", "wss"}:
            await super()._connect_to_server(s)
            return
        s.last_attempt = time.monotonic()
        self._transport = _Transport()
        await self._transport.connect(s.uri, _READ_BYTES, _CONNECT_TIMEOUT_S)

    def _connect_command(self) -> bytes:
        """Carries the password: nats-py would send it in clear where the server offers no TLS."""
        server = self._current_server
        if server and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise NatsError(_NO_TLS)
        if self._access.account is not None:
            account = self._access.account.current()[0]
            self.options["user"], self.options["password"] = account.user, account.password
        return super()._connect_command()

    async def _process_err(self, err_msg: str) -> None:
        """What makes a server hang up, such as a password that was changed; nats-py would close for good."""
        if _DENIED in err_msg.lower():
            await super()._process_err(err_msg)
            return
        error = NatsError(f"nats: {err_msg}")
        await self._error_cb(error)
        await self._process_op_err(error)

    async def _process_headers(self, headers: bytes) -> Any:
        if headers and headers.startswith(_NO_STATUS):
            return _Headers(headers[len(_NO_STATUS) :])
        try:
            return await super()._process_headers(headers)
        except (ValueError, IndexError):
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Any:
        try:
            return super()._build_message(sid, subject, reply, data, headers)
        except UnicodeDecodeError:
            return super()._build_message(sid, _readable(subject), _readable(reply), data, headers)


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
    on_trouble: OnTrouble | None = None,
) -> AsyncIterator[Client]:
    """Give a client at once and connect it beside the body, for as long as it takes.

    `on_connect` is called once, at the first connection: the place to subscribe, for nats-py renews
    subscriptions itself. None of the callbacks may raise. While `client.is_connected` is false nothing
    should be published. With `on_trouble` that is told what goes wrong, and nothing is logged. At the end
    what is pending is sent and the connection closed. Raises `StartupError` where `servers` are not
    addresses.
    """
    shown = [_without_secrets(server) for server in servers]
    said = log if on_trouble is None else _Silence()
    client = _Client(access)

    async def disconnected() -> None:
        if not client.is_closed:
            said.warning("bus connection lost, reconnecting", servers=shown)
        await on_disconnect()

    async def reconnected() -> None:
        said.info("bus connection restored", servers=shown)
        await on_reconnect()

    async def connect_first() -> None:
        if not servers:  # nats-py would look for one for ever, without a pause
            raise StartupError("no address of a NATS server is given")
        try:
            await connect_until_it_works()
        except (NatsError, ValueError) as error:
            raise StartupError(f"not the address of a NATS server: {shown} ({error})") from error
        said.info("bus connected", servers=shown)
        await on_connect(client)

    async def connect_until_it_works() -> None:
        await client.connect(
            servers=list(servers),
            name=name,
            inbox_prefix=inbox_prefix,
            error_cb=_Trouble(shown, on_trouble).note,
            disconnected_cb=disconnected,
            reconnected_cb=reconnected,
            connect_timeout=_CONNECT_TIMEOUT_S,
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
        elif client.options:  # one that was never told to connect cannot be closed
            await client.close()


def _reconnect_wait_s() -> float:
    """Different in every process, so that a cluster does not come back in one instant."""
    return random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret


def _readable(subject: bytes) -> bytes:
    return subject.decode(errors="replace").encode()


def _without_secrets(server: str) -> str:
    return server.rpartition("@")[2]
