"""Who may use the data port: HTTP basic authentication (RFC 7617) by accounts from a file."""

import hashlib
import hmac
from collections.abc import Sequence

from heliograph_registry.adapters.request import Headers
from heliograph_registry.adapters.uvicorn import AtOnce
from heliograph_shared.accounts import Account
from heliograph_shared.reloading import Reloading

CHALLENGE = (b"www-authenticate", b'Basic realm="heliograph", charset="UTF-8"')
_AUTHORIZATION = b"authorization"


class BasicAuth:
    """Any of the accounts will do, as they are in the file now."""

    def __init__(self, accounts: Reloading[Sequence[Account]]) -> None:
        self._accounts = accounts
        self._hashed_from: Sequence[Account] = ()
        self._hashes: list[bytes] = []

    def admits(self, authorization: bytes | None) -> bool:
        """By the value of the header, None without one. How long it takes tells nothing of the accounts."""
        scheme, _, given = (authorization or b"").strip().partition(b" ")
        if scheme.lower() != b"basic":
            return False
        hashed = hashlib.sha256(given.strip()).digest()
        matches = [hmac.compare_digest(hashed, known) for known in self._known()]
        return any(matches)

    def guard(self, at_once: AtOnce) -> AtOnce:
        """What is answered at once only to those who are admitted; others are left to the slower way."""

        def guarded(url: bytes, headers: Headers) -> bytes | None:
            given = next((value for name, value in headers if name == _AUTHORIZATION), None)
            return at_once(url, headers) if self.admits(given) else None

        return guarded

    def own(self) -> str:
        """The header's value that peers are sent: by the first account."""
        return self._accounts.current()[0].authorization

    def _known(self) -> list[bytes]:
        accounts = self._accounts.current()
        if accounts is not self._hashed_from:
            self._hashed_from = accounts
            encoded = (account.authorization.partition(" ")[2] for account in accounts)
            self._hashes = [hashlib.sha256(text.encode()).digest() for text in encoded]
        return self._hashes
