"""Connections to peers. A peer's addresses are raced (RFC 8305), and idle connections are reused."""

import asyncio
import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from heliograph_registry.mirror.domain.peer import Peer
from heliograph_registry.mirror.errors import PeerFailed
from heliograph_registry.mirror.hedging import race
from heliograph_shared.address import Address
from heliograph_shared.reloading import Reloading

_ADDRESS_STAGGER_S = 0.05
_RECEIVE_BUFFER_BYTES = 512 << 10
"""As fast as the kernel's own tuning, for a tenth of the memory. Only takes effect if set before connect."""
_HANDSHAKE_SHARE = 2.5  # times as long as a connection may take
_TLS_BUFFER_BYTES = 128 << 10
"""In the kernel. The process keeps as much decrypted data, and both together are less than a plain buffer."""
_IDLE_S = 30.0  # well below the time for which a registry keeps an idle connection open
_MOST_IDLE = 128


class Connection(Protocol):
    """`reused` if it has carried an answer before; the peer may have closed it since."""

    address: Address
    scheme: str
    reused: bool

    async def send(self, data: bytes) -> None:
        """Raises `OSError`."""
        ...

    async def receive(self, most: int) -> bytes:
        """At most `most` bytes; empty if the peer has closed the connection. Raises `OSError`."""
        ...

    def is_quiet(self) -> bool:
        """True if the peer has not closed it and, as far as can be seen, has sent no unexpected bytes."""
        ...

    def close(self) -> None: ...


class PlainConnection:
    scheme = "http"

    def __init__(self, address: Address, connected: socket.socket) -> None:
        self.address, self.socket = address, connected
        self.reused = False

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def receive(self, most: int) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.socket, most)

    def is_quiet(self) -> bool:
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        self.socket.close()


class TlsConnection:
    scheme = "https"

    def __init__(self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.address, self._reader, self._writer = address, reader, writer
        self.reused = False

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self, most: int) -> bytes:
        return await self._reader.read(most)

    def is_quiet(self) -> bool:
        ended = self._reader.at_eof() or self._reader.exception() is not None
        return not (ended or self._writer.is_closing())

    def close(self) -> None:
        self._writer.transport.abort()  # no more bytes of it are needed


@dataclass(frozen=True, slots=True)
class PeerTls:
    """`server_name` is the name that a peer's certificate must have, its address if empty."""

    contexts: Reloading[ssl.SSLContext]
    server_name: str = ""


class Connections:
    """Keeps at most 128 idle connections, each for at most 30 s; those idle longest are closed first.

    With `tls` every connection uses it.
    """

    def __init__(self, tls: PeerTls | None = None, *, connect_s: float = 0.2) -> None:
        """`connect_s`: time limit for a connection, without its TLS handshake."""
        self._tls, self._connect_s = tls, connect_s
        self._idle: deque[tuple[float, str, Connection]] = deque()

    async def take(self, peer: Peer, *, fresh: bool = False) -> Connection:
        """An idle connection to one of the peer's addresses, else a new one. Raises `PeerFailed`."""
        if not fresh and (idle := self._take_idle(peer)) is not None:
            return idle
        return await race(
            [partial(_connect, peer, text, self._tls, self._connect_s) for text in peer.addresses],
            stagger_s=_ADDRESS_STAGGER_S,
            discard=lambda late: late.close(),
            failures=(PeerFailed,),
        )

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for reuse. Its last answer must have been read in full."""
        self._close_old()
        connection.reused = True
        self._idle.append((time.monotonic(), str(connection.address), connection))

    def close(self) -> None:
        while self._idle:
            self._idle.popleft()[2].close()

    def _take_idle(self, peer: Peer) -> Connection | None:
        self._close_old()
        for entry in reversed(self._idle):
            if entry[1] in peer.addresses:
                self._idle.remove(entry)
                if entry[2].is_quiet():
                    return entry[2]
                entry[2].close()
                return self._take_idle(peer)
        return None

    def _close_old(self) -> None:
        oldest = time.monotonic() - _IDLE_S
        while self._idle and (len(self._idle) >= _MOST_IDLE or self._idle[0][0] < oldest):
            self._idle.popleft()[2].close()


async def _connect(peer: Peer, text: str, tls: PeerTls | None, connect_s: float) -> Connection:
    loop = asyncio.get_running_loop()
    buffer_bytes = _RECEIVE_BUFFER_BYTES if tls is None else _TLS_BUFFER_BYTES
    try:
        address = Address.parse(text)
        text.encode("ascii")  # it is sent as the Host header
        async with asyncio.timeout(connect_s):
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            connected = await race(
                [partial(_connect_socket, *entry, buffer_bytes=buffer_bytes) for entry in found],
                stagger_s=_ADDRESS_STAGGER_S,
                discard=socket.socket.close,
                failures=(OSError,),
            )
        if tls is None:
            return PlainConnection(address, connected)
        return await _start_tls(address, connected, tls, _HANDSHAKE_SHARE * connect_s)
    except (OSError, ValueError) as error:  # ssl raises ValueError for some host names
        raise PeerFailed(peer.node, f"{text}: {str(error) or 'no connection in time'}") from error


async def _start_tls(
    address: Address, connected: socket.socket, tls: PeerTls, handshake_s: float
) -> TlsConnection:
    """Takes over `connected`. Raises `OSError`, for example `ssl.SSLError`."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(_TLS_BUFFER_BYTES // 2)
    protocol = asyncio.StreamReaderProtocol(reader)
    try:
        async with asyncio.timeout(handshake_s):
            transport, _ = await loop.create_connection(
                lambda: protocol,
                sock=connected,
                ssl=tls.contexts.current(),
                server_hostname=tls.server_name or address.host,
            )
    except BaseException:
        connected.close()
        raise
    return TlsConnection(address, reader, asyncio.StreamWriter(transport, protocol, reader, loop))


async def _connect_socket(
    family: int, kind: int, protocol: int, _name: str, target: Any, *, buffer_bytes: int
) -> socket.socket:
    connecting = socket.socket(family, kind, protocol)
    try:
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        await asyncio.get_running_loop().sock_connect(connecting, target)
    except BaseException:
        connecting.close()
        raise
    return connecting
