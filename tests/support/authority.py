"""A certificate authority of the test's own, by openssl, and what it signs."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Its files lie in `directory`; `certificate` is what others are to trust.

    Without `key_usage` it is as `openssl req -x509` makes it, and Python 3.13 or newer refuses it.
    """

    def __init__(self, directory: Path, name: str = "ca", *, key_usage: bool = True) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.certificate, self._key = directory / f"{name}.pem", directory / f"{name}-key.pem"
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign") if key_usage else ()
        files = ("-keyout", self._key, "-out", self.certificate)
        _openssl("req", "-x509", *_KEY, "-subj", f"/CN={name}", *usage, *files)

    def sign(self, name: str, *, address: str = "127.0.0.1") -> Identity:
        """For a server at `address`, and for a client."""
        identity = Identity(self._directory / f"{name}.pem", self._directory / f"{name}-key.pem")
        request = (*_KEY, "-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{address}")
        signed_by = ("-CA", self.certificate, "-CAkey", self._key)
        files = ("-keyout", identity.key, "-out", identity.certificate)
        _openssl(
            "req", "-x509", *request, "-addext", "basicConstraints=critical,CA:FALSE", *signed_by, *files
        )
        return identity

    def locked(self, key: Path, target: Path) -> Path:
        """The key, encrypted."""
        _openssl("pkey", "-in", key, "-aes256", "-passout", "pass:word", "-out", target)
        return target

    def server(self, identity: Identity, *, verify_clients: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        if verify_clients:
            context.load_verify_locations(self.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
