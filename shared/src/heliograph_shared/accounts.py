"""Reads files of `user:password` lines; makes the header of HTTP basic authentication (RFC 7617)."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from heliograph_shared.reloading import Reloading

MAX_FILE_BYTES = 64 << 10


class InvalidAccounts(ValueError):
    """The message names the line that is wrong, without its content."""


@dataclass(frozen=True, slots=True)
class Account:
    user: str
    password: str = field(repr=False)

    @property
    def authorization(self) -> str:
        """The value of an `Authorization` header."""
        return "Basic " + b64encode(f"{self.user}:{self.password}".encode()).decode()


def parse_accounts(text: str) -> tuple[Account, ...]:
    """One account per non-empty line. Raises `InvalidAccounts`, also when there is none."""
    accounts = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        user, colon, password = line.partition(":")
        if not (user and colon and password):
            raise InvalidAccounts(f"line {number} is not user:password")
        if not line.isprintable():
            raise InvalidAccounts(f"line {number} contains a character that cannot be sent")
        accounts.append(Account(user, password))
    if not accounts:
        raise InvalidAccounts("there is no line user:password")
    return tuple(accounts)


def read_accounts(path: Path) -> tuple[Account, ...]:
    """Raises `InvalidAccounts` or `OSError`."""
    with path.open("rb") as file:
        body = file.read(MAX_FILE_BYTES + 1)
    if len(body) > MAX_FILE_BYTES:
        raise InvalidAccounts(f"more than {MAX_FILE_BYTES} bytes")
    try:
        return parse_accounts(body.decode())
    except UnicodeDecodeError:
        raise InvalidAccounts("not UTF-8") from None  # the original error contains the text


def reloaded_accounts(what: str, path: Path) -> Reloading[Sequence[Account]]:
    """The accounts of a file that may change. Raises `StartupError`."""
    return Reloading(what, [path], lambda: read_accounts(path))
