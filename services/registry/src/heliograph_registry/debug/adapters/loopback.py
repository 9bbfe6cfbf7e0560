"""This registry's data port as its clients see it, by the standard library's blocking client.

Blocking on purpose: it is used in threads, whose waiting and receiving leave the event loop alone.
"""

import http.client
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from urllib.parse import unquote

from heliograph_registry.debug.errors import PullInterrupted
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.source import Source, parse_source
from heliograph_shared.address import Address

_TIMEOUT_S = 90.0  # longer than the registry hashes, before its first byte, what is asked for again
_AGENT = "heliograph-measure"


class LoopbackAnswer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self._length = response.length or 0
        self._received = 0
        self.status = response.status

    @property
    def source(self) -> Source:
        return parse_source(unquote(self._response.getheader("heliograph-source") or ""))

    @property
    def reason(self) -> Reason | None:
        try:
            return Reason(self._response.getheader("heliograph-reason") or "")
        except ValueError:
            return None

    @property
    def digest(self) -> str:
        return self._response.getheader("docker-content-digest") or ""

    @property
    def complete(self) -> bool:
        return self._received == self._length

    def read(self, buffer: memoryview) -> int:
        try:
            received = self._response.readinto(buffer)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise PullInterrupted(str(error) or type(error).__name__) from error
        self._received += received
        return received


class LoopbackConnection:
    def __init__(self, connection: http.client.HTTPConnection, headers: Mapping[str, str]) -> None:
        self._connection, self._headers = connection, headers

    def ask(self, method: str, path: str, headers: Mapping[str, str]) -> LoopbackAnswer:
        try:
            self._connection.request(method, path, headers={**self._headers, **headers})
            response = self._connection.getresponse()
            answer = LoopbackAnswer(response)
            if method == "HEAD" or response.status >= 400:
                response.read(64 << 10)  # the spec's errors are short: the connection can be used again
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            raise PullInterrupted(str(error) or type(error).__name__) from error
        return answer

    def abort(self) -> None:
        """From another thread: ends what is being read."""
        connected = self._connection.sock
        if connected is not None:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._connection.close()


class Loopback:
    def __init__(
        self,
        listening: Address,
        *,
        wait_s: float = 0.0,
        authorization: Callable[[], str | None] = lambda: None,
        encryption: Callable[[], ssl.SSLContext | None] = lambda: None,
    ) -> None:
        """`listening` is where the data port listens; one that listens everywhere is reached on 127.0.0.1.

        `wait_s` is how long the registry may let a request wait for what another node fetches.
        `authorization` gives the header of that name, `encryption` what TLS is spoken with, each time anew.
        """
        everywhere = listening.host in {"", "::", "0.0.0.0"}  # noqa: S104 - recognized, not bound
        self._host = "127.0.0.1" if everywhere else listening.host
        self._port = listening.port
        self._timeout_s = _TIMEOUT_S + wait_s
        self._authorization, self._encryption = authorization, encryption

    def open(self) -> LoopbackConnection:
        """Connects with the first question."""
        headers = {"user-agent": _AGENT}
        if (authorization := self._authorization()) is not None:
            headers["authorization"] = authorization
        if (context := self._encryption()) is not None:
            encrypted = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=context
            )
            return LoopbackConnection(encrypted, headers)
        plain = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return LoopbackConnection(plain, headers)
