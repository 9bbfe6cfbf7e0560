"""nats-py's client, made to survive malformed messages and to send its password over TLS only where asked."""

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import nats.aio.client
from nats.aio.client import Srv
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError

from heliograph_shared.accounts import Account, reloaded_accounts
from heliograph_shared.reloading import Reloading
from heliograph_shared.tls import TlsFiles, client_contexts

CONNECT_TIMEOUT_S = 2
_READ_BYTES = 32 << 10

_NO_TLS = "the server does not speak TLS"
_HUNG_UP = "the server closed the connection"
_DENIED = "permissions violation"


class Message(NamedTuple):
    """A received message. Headers are parsed on access, which costs as much as applying most messages."""

    subject: str
    data: bytes
    raw_headers: bytes

    @property
    def headers(self) -> Mapping[str, str]:
        """The last one of several with the same name."""
        lines = self.raw_headers.decode("utf-8", "replace").split("\r\n")[1:]
        parts = (line.partition(":") for line in lines)
        return {name.strip(): value.strip() for name, colon, value in parts if colon}


OnMessage = Callable[[Message], None]


@dataclass(frozen=True, slots=True)
class Access:
    """Credentials for the bus, read again for each connection, and TLS to verify it."""

    account: Reloading[Sequence[Account]] | None = None
    tls: Reloading[ssl.SSLContext] | None = None

    @classmethod
    def by_files(cls, servers: Sequence[str], user_file: Path | None, tls: TlsFiles) -> "Access":
        """With TLS if a URL of `servers` is `tls://` or `tls` names a file. Raises `StartupError`."""
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
        """Abort the transport on failure; nats-py would wait for ever for a closed transport to close."""
        try:
            await super().connect_tls(*args, **kwargs)
        except BaseException:
            if self._io_writer is not None:
                self._io_writer.transport.abort()
                self._io_writer = None
            raise

    async def readline(self) -> bytes:
        """The next line of the greeting. nats-py would take the end of the stream for a PONG.

        A server that refuses a client may reset the connection, and then its reason is lost.
        """
        line: bytes = await super().readline()  # type: ignore[no-untyped-call]
        if not line:
            raise NatsError(_HUNG_UP)
        return line


class Client(nats.aio.client.Client):
    """Survives subjects and headers that are not UTF-8, which would end nats-py's read loop."""

    def __init__(self, access: Access) -> None:
        super().__init__()
        self._access = access
        self._direct: dict[int, OnMessage] = {}

    async def subscribe_direct(self, subject: str, on_message: OnMessage) -> None:
        """Subscribe until the connection is closed; `on_message` is called directly for each message.

        nats-py's own queue and task would cost a router a tenth of its time. While `on_message` runs, nothing
        is read and the server buffers messages; with nats-py's queue that is no different.
        """
        number = self._sid + 1  # the id that `subscribe` is about to assign
        self._direct[number] = on_message
        try:
            await self.subscribe(subject, cb=_unused)
        except BaseException:
            del self._direct[number]
            raise

    @property
    def ssl_context(self) -> ssl.SSLContext:
        return super().ssl_context if self._access.tls is None else self._access.tls.current()

    async def _connect_to_server(self, s: Srv) -> None:
        if s.uri.scheme in {"ws", "wss"}:
            await super()._connect_to_server(s)
            return
        s.last_attempt = time.monotonic()
        self._transport = _Transport()
        await self._transport.connect(s.uri, _READ_BYTES, CONNECT_TIMEOUT_S)

    def _connect_command(self) -> bytes:
        """Contains the password. Refuse if TLS is wanted and not offered: nats-py would send it in clear."""
        server = self._current_server
        if server and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise NatsError(_NO_TLS)
        if self._access.account is not None:
            account = self._access.account.current()[0]
            self.options["user"], self.options["password"] = account.user, account.password
        return super()._connect_command()

    async def _process_err(self, err_msg: str) -> None:
        """Reconnect after an error for which the server hangs up, such as a changed password.

        nats-py would close the client for good.
        """
        if _DENIED in err_msg.lower():
            await super()._process_err(err_msg)
            return
        error = NatsError(f"nats: {err_msg}")
        await self._error_cb(error)
        await self._process_op_err(error)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        on_message = self._direct.get(sid)
        if on_message is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        raw_headers = headers or b""  # None without headers, although nats-py types it as bytes
        try:
            on_message(Message(subject.decode(errors="replace"), data, raw_headers))
        except Exception as error:  # noqa: BLE001 - as nats-py does with those of its callbacks
            await self._error_cb(error)

    async def _process_headers(self, headers: bytes) -> Any:
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


async def _unused(_: Msg) -> None:
    """nats-py requires a callback."""


def _readable(subject: bytes) -> bytes:
    return subject.decode(errors="replace").encode()
