"""HTTP basic authentication (RFC 7617) of requests to the data port, with accounts from a file."""

import hashlib
import hmac
from collections.abc import Sequence

from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
    UnauthenticatedUser,
)
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import Response

from heliograph_registry.adapters.http_server.headers import Headers
from heliograph_registry.adapters.http_server.protocol import AnswerFromCache
from heliograph_registry.adapters.http_server.record import record_of
from heliograph_registry.adapters.http_server.responses import ErrorResponse
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_shared.accounts import Account
from heliograph_shared.reloading import Reloading

_CHALLENGE = (b"www-authenticate", b'Basic realm="heliograph", charset="UTF-8"')
_AUTHORIZATION = b"authorization"


class BasicAuth(AuthenticationBackend):
    """A request must carry one of the accounts that are in the file at that moment."""

    def __init__(self, accounts: Reloading[Sequence[Account]]) -> None:
        self._accounts = accounts
        self._hashed_from: Sequence[Account] = ()
        self._hashes: list[bytes] = []

    def middleware(self) -> Middleware:
        return Middleware(AuthenticationMiddleware, backend=self, on_error=_unauthorized)

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser]:
        """Raises `AuthenticationError`."""
        if not self.admits(record_of(conn.scope).headers.get(_AUTHORIZATION)):
            raise AuthenticationError("user and password required")
        return AuthCredentials(), UnauthenticatedUser()  # no route needs to know the account

    def admits(self, authorization: bytes | None) -> bool:
        """`authorization` is the header's value, None without one. Takes equally long for every account."""
        scheme, _, given = (authorization or b"").strip().partition(b" ")
        if scheme.lower() != b"basic":
            return False
        hashed = hashlib.sha256(given.strip()).digest()
        matches = [hmac.compare_digest(hashed, known) for known in self._known()]
        return any(matches)

    def guard(self, from_cache: AnswerFromCache) -> AnswerFromCache:
        """Answer only authenticated requests from the cache; the application answers the others with 401."""

        def guarded(url: bytes, headers: Headers) -> bytes | None:
            given = next((value for name, value in headers if name == _AUTHORIZATION), None)
            return from_cache(url, headers) if self.admits(given) else None

        return guarded

    def own(self) -> str:
        """The `Authorization` header's value for requests to peers: the first account."""
        return self._accounts.current()[0].authorization

    def _known(self) -> list[bytes]:
        accounts = self._accounts.current()
        if accounts is not self._hashed_from:
            self._hashed_from = accounts
            encoded = (account.authorization.partition(" ")[2] for account in accounts)
            self._hashes = [hashlib.sha256(text.encode()).digest() for text in encoded]
        return self._hashes


def _unauthorized(_: HTTPConnection, error: AuthenticationError) -> Response:
    return ErrorResponse(401, "UNAUTHORIZED", str(error), Reason.UNAUTHORIZED, [_CHALLENGE])
