"""Connects to this registry's own data port, with the blocking HTTP client of the standard library.

It blocks on purpose: the pull test uses it in threads, so that it does not delay the event loop.
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

_TIMEOUT_S = 90.0  # longer than the registry hashes a repeated request's content before the first byte
_USER_AGENT = "heliograph-pull-test"


class LoopbackResponse:
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

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> LoopbackResponse:
        try:
            self._connection.request(method, path, headers={**self._headers, **headers})
            response = self._connection.getresponse()
            pull_response = LoopbackResponse(response)
            if method == "HEAD" or response.status >= 400:
                response.read(64 << 10)  # errors have short bodies; once read, the connection can be reused
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            raise PullInterrupted(str(error) or type(error).__name__) from error
        return pull_response

    def abort(self) -> None:
        """Shut the socket down, which ends a read in another thread."""
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
        """`listening` is where the data port listens; if that is every address, 127.0.0.1 is used.

        `wait_s` is how long a request may wait for content that another node is fetching. Each new connection
        calls `authorization` for the header of that name, and `encryption` for the TLS context.
        """
        everywhere = listening.host in {"", "::", "0.0.0.0"}  # noqa: S104 - recognized, not bound
        self._host = "127.0.0.1" if everywhere else listening.host
        self._port = listening.port
        self._timeout_s = _TIMEOUT_S + wait_s
        self._authorization, self._encryption = authorization, encryption

    def open(self) -> LoopbackConnection:
        """The connection is made by its first request."""
        headers = {"user-agent": _USER_AGENT}
        if (authorization := self._authorization()) is not None:
            headers["authorization"] = authorization
        if (context := self._encryption()) is not None:
            encrypted = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=context
            )
            return LoopbackConnection(encrypted, headers)
        plain = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return LoopbackConnection(plain, headers)
