"""nats-py's client, made to take what anyone may publish, and to keep its password to itself."""

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
_DENIED = "permissions violation"


class Message(NamedTuple):
    """What was heard. Headers are read when somebody looks: that costs as much as to apply most messages."""

    subject: str
    data: bytes
    raw_headers: bytes

    @property
    def headers(self) -> Mapping[str, str]:
        """Of several with one name the last."""
        lines = self.raw_headers.decode("utf-8", "replace").split("\r\n")[1:]
        parts = (line.partition(":") for line in lines)
        return {name.strip(): value.strip() for name, colon, value in parts if colon}


OnMessage = Callable[[Message], None]


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


class Client(nats.aio.client.Client):
    """Takes what anyone may publish: subjects or headers that are not UTF-8 would end nats-py's read loop."""

    def __init__(self, access: Access) -> None:
        super().__init__()
        self._access = access
        self._heard: dict[int, OnMessage] = {}

    async def hear(self, subject: str, on_message: OnMessage) -> None:
        """Subscribe for as long as the connection lasts, and call at once for each message.

        nats-py's way, by a queue and a task, costs a router a tenth of its time. It is held up by a callback
        just as well: as long as that runs, nothing more is read, and the server keeps what comes.
        """
        number = self._sid + 1  # that the subscription is about to get
        self._heard[number] = on_message
        try:
            await self.subscribe(subject, cb=_unused)
        except BaseException:
            del self._heard[number]
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

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        on_message = self._heard.get(sid)
        if on_message is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        raw_headers = headers or b""  # None where there are none, whatever nats-py says of the type
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
    """nats-py wants a callback."""


def _readable(subject: bytes) -> bytes:
    return subject.decode(errors="replace").encode()
