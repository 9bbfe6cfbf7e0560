"""The mirrors that containerd asks first, and the `[host]` tables that say so. Pure."""

from dataclasses import dataclass, field
from typing import Any

from heliograph_configurator.domain.ipv6_hosts import bracketed

CA_FILE, CLIENT_FILE = "heliograph-ca.pem", "heliograph-client.pem"
"""Written beside a `hosts.toml`. The names do not end in `.crt`, `.cert` or `.key`, since containerd uses
such files for the upstream registry when there is no `hosts.toml`."""


@dataclass(frozen=True, slots=True)
class MirrorTls:
    """PEM, each empty if there is none.

    `client` is a certificate with its chain, followed by its key. They are in one file so that both are
    always replaced together: containerd fails a pull when a key does not match its certificate.
    """

    ca: bytes = b""
    client: bytes = field(default=b"", repr=False)

    @property
    def files(self) -> dict[str, bytes]:
        """Content by file name; none is empty."""
        return {name: pem for name, pem in ((CA_FILE, self.ca), (CLIENT_FILE, self.client)) if pem}


NO_TLS = MirrorTls()


@dataclass(frozen=True, slots=True)
class MirrorHosts:
    """URLs in the order in which containerd asks them, for tags too if `resolves_tags`.

    `additional` are mirrors of others, asked after the `targets`; they are sent neither `authorization`, a
    header's value, nor the client certificate. `dial_timeout` is a Go duration; containerd before 2.0.7
    ignores it.
    """

    targets: tuple[str, ...]
    resolves_tags: bool
    additional: tuple[str, ...] = ()
    dial_timeout: str = ""
    authorization: str = field(default="", repr=False)
    tls: MirrorTls = NO_TLS

    @property
    def tls_files(self) -> MirrorTls:
        """What has to be beside a `hosts.toml` that names these mirrors; only https mirrors need any."""
        return self.tls if any(map(_is_https, self.targets)) else NO_TLS

    def tables(self) -> dict[str, Any]:
        """The `[host]` tables by name, in order; an IPv6 address has brackets."""
        ours = {bracketed(target): self._target_table(target) for target in self.targets}
        others = {bracketed(target): self._common_table() for target in self.additional}
        return {**ours, **{name: table for name, table in others.items() if name not in ours}}

    def is_target(self, table: str) -> bool:
        """True if a table of this name belongs to one of the `targets`."""
        return table in map(bracketed, self.targets)

    def _common_table(self) -> dict[str, Any]:
        capabilities = ["pull", "resolve"] if self.resolves_tags else ["pull"]
        return {"capabilities": capabilities} | (
            {"dial_timeout": self.dial_timeout} if self.dial_timeout else {}
        )

    def _target_table(self, target: str) -> dict[str, Any]:
        table = self._common_table()
        if _is_https(target):
            table |= {"ca": CA_FILE} if self.tls.ca else {}
            table |= {"client": CLIENT_FILE} if self.tls.client else {}
        if self.authorization:
            table["header"] = {"Authorization": self.authorization}
        return table


def _is_https(url: str) -> bool:
    return url.startswith("https://")
