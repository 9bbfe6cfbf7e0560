"""An authority of the tests' own, and certificates that it signs, as the files that services are given."""

from dataclasses import dataclass
from pathlib import Path

import trustme

LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Identity:
    """A folder as a Kubernetes Secret of type `kubernetes.io/tls` is mounted."""

    certificate: Path
    key: Path
    ca: Path

    @property
    def settings(self) -> dict[str, Path]:
        return {"tls_cert_file": self.certificate, "tls_key_file": self.key, "tls_ca_file": self.ca}

    @property
    def environment(self) -> dict[str, str]:
        return {f"HELIOGRAPH_{name.upper()}": str(path) for name, path in self.settings.items()}


class Authority:
    def __init__(self) -> None:
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)

    @property
    def pem(self) -> bytes:
        return self._ca.cert_pem.bytes()

    def issue(self, folder: Path, *names: str) -> Identity:
        """A new one; what lies in `folder` is replaced. Without names it is good for this machine."""
        folder.mkdir(parents=True, exist_ok=True)
        made = self._ca.issue_cert(*(names or LOCAL), key_type=trustme.KeyType.ECDSA)
        identity = Identity(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
        chain = b"".join(pem.bytes() for pem in made.cert_chain_pems)
        for path, content in [
            (identity.certificate, chain),
            (identity.key, made.private_key_pem.bytes()),
            (identity.ca, self.pem),
        ]:
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.replace(path)
        return identity
