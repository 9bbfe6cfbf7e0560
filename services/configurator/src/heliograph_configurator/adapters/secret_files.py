"""Credentials for the mirrors and CA certificates to verify them, from files that may change at any time.

They are checked before containerd gets them, since it fails every pull over a certificate that it cannot use.
"""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from heliograph_configurator.domain.mirror import MirrorTls
from heliograph_configurator.errors import SecretUnusable
from heliograph_shared.accounts import InvalidAccounts, read_accounts

MAX_FILE_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class SecretFiles:
    """`certificate` and `key` belong together. None: there is no such file."""

    accounts: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.accounts, self.ca, self.certificate, self.key) if path)

    def authorization(self) -> str:
        """The Authorization header for the first account; empty without one. Raises `SecretUnusable`."""
        if self.accounts is None:
            return ""
        try:
            return read_accounts(self.accounts)[0].authorization
        except OSError as error:
            raise SecretUnusable(self.accounts, error.strerror or str(error)) from error
        except InvalidAccounts as error:
            raise SecretUnusable(self.accounts, str(error)) from error

    def tls(self) -> MirrorTls:
        """Raises `SecretUnusable`."""
        ca = client = b""
        if self.ca is not None:
            ca = _read(self.ca)
            _check_authorities(self.ca, ca)
        if self.certificate is not None and self.key is not None:
            client = _read(self.certificate).rstrip(b"\n") + b"\n" + _read(self.key)
            _check_pair(self.key, client)
        return MirrorTls(ca, client)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SecretUnusable(path, error.strerror or str(error)) from error
    if len(content) > MAX_FILE_BYTES:
        raise SecretUnusable(path, f"larger than {MAX_FILE_BYTES} bytes")
    return content


def _check_authorities(path: Path, pem: bytes) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode())
    except (ssl.SSLError, ValueError):
        raise SecretUnusable(path, "not valid PEM certificates") from None


def _check_pair(path: Path, pem: bytes) -> None:
    """OpenSSL reads a pair only from a file; this one is in memory and has no name."""
    descriptor = os.memfd_create("pair", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    except ssl.SSLError:
        raise SecretUnusable(path, "not the key of the certificate, or one of them is invalid") from None
    finally:
        os.close(descriptor)
