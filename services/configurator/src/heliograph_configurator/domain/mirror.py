"""Where containerd is sent first, and what it needs there. Pure."""

import re
from dataclasses import dataclass, field
from typing import Any

CA_FILE, CLIENT_FILE = "heliograph-ca.pem", "heliograph-client.pem"
"""Beside a `hosts.toml`. They do not end in `.crt`, `.cert` or `.key`: such files containerd uses towards
upstream where there is no `hosts.toml`."""

_ipv6 = re.compile(
    r"(?P<scheme>https?)://\[(?P<address>[0-9A-Fa-f:.]+)\](?::(?P<port>[0-9]+))?(?P<path>(?:/.*)?)\Z"
).match


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM, each empty where there is none.

    `client` is a certificate, with its chain, and then its key: in one file they cannot be of two ages, and
    over two that do not fit containerd fails a pull.
    """

    ca: bytes = b""
    client: bytes = field(default=b"", repr=False)

    @property
    def files(self) -> dict[str, bytes]:
        """By name, none of them empty."""
        return {name: pem for name, pem in ((CA_FILE, self.ca), (CLIENT_FILE, self.client)) if pem}


NO_TLS = Tls()


@dataclass(frozen=True, slots=True)
class Mirror:
    """URLs in the order in which they are asked, for tags too when `resolves_tags`.

    `additional` are asked after the `targets` and belong to somebody else: they see neither our
    `authorization`, the value of a header, nor our certificate. `dial_timeout` is a duration as in Go;
    containerd before 2.0.7 does not know it, and ignores it.
    """

    targets: tuple[str, ...]
    resolves_tags: bool
    additional: tuple[str, ...] = ()
    dial_timeout: str = ""
    authorization: str = field(default="", repr=False)
    tls: Tls = NO_TLS

    @property
    def named_tls(self) -> Tls:
        """What must lie beside a file that names this mirror."""
        return self.tls if any(map(_is_https, self.targets)) else NO_TLS

    def tables(self) -> dict[str, Any]:
        """The mirrors' `[host]` tables by name."""
        ours = {table_of(target): self._table(target) for target in self.targets}
        others = {table_of(target): self._plain() for target in self.additional}
        return {**ours, **{name: table for name, table in others.items() if name not in ours}}

    def is_ours(self, table: str) -> bool:
        """Whether a table of this name is of one of the `targets`."""
        return table in map(table_of, self.targets)

    def _plain(self) -> dict[str, Any]:
        capabilities = ["pull", "resolve"] if self.resolves_tags else ["pull"]
        return {"capabilities": capabilities} | (
            {"dial_timeout": self.dial_timeout} if self.dial_timeout else {}
        )

    def _table(self, target: str) -> dict[str, Any]:
        table = self._plain()
        if _is_https(target):
            table |= {"ca": CA_FILE} if self.tls.ca else {}
            table |= {"client": CLIENT_FILE} if self.tls.client else {}
        if self.authorization:
            table["header"] = {"Authorization": self.authorization}
        return table


def table_of(url: str) -> str:
    """The name of a host's table: the URL, with an IPv6 address and its port but without brackets.

    In a table's name 1.6 and 1.7 refuse brackets, quoted or not, and with them the file. All versions take
    the last colon for the port's; one compiled for Go 1.26 or newer will want the brackets back.
    """
    ipv6 = _ipv6(url)
    if ipv6 is None:
        return url
    port = ipv6["port"] or ("443" if ipv6["scheme"] == "https" else "80")
    return f"{ipv6['scheme']}://{ipv6['address']}:{port}{ipv6['path']}"


def _is_https(url: str) -> bool:
    return url.startswith("https://")
