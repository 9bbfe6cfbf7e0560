"""Whether containerd sends requests for the mirror to a proxy of its environment. Pure.

The rules are those of Go's net/http, which containerd uses: `HTTP_PROXY` for http, `HTTPS_PROXY` for https,
`NO_PROXY` for exceptions, capitals before small letters, and never a proxy for loopback addresses
(golang.org/x/net/http/httpproxy).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from heliograph_indexer.domain.checks import IndexerCheck
from heliograph_shared.address import Address
from heliograph_shared.findings import Finding

_MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """`variables` are the names of those that set a proxy; their values may contain passwords."""

    variables: tuple[str, ...]
    no_proxy: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "ProxySettings":
        names = (_name(environment, name) for name in ("HTTP_PROXY", "HTTPS_PROXY"))
        return cls(tuple(name for name in names if name), environment.get(_name(environment, "NO_PROXY"), ""))

    def excepts(self, address: Address) -> bool:
        """Whether `NO_PROXY` covers this address."""
        return any(_covers(entry.strip().lower(), address) for entry in self.no_proxy.split(","))


def examine_proxies(settings: ProxySettings, addresses: Sequence[str]) -> Iterator[Finding]:
    """`addresses` are `host:port` of this node's registry as other nodes reach it."""
    captured = [
        text
        for text in addresses
        if not _is_loopback((address := Address.parse(text)).host) and not settings.excepts(address)
    ]
    if settings.variables and captured:
        yield Finding(
            IndexerCheck.PROXY,
            "warning",
            "containerd has a proxy and no exception for this node's address, so it does not reach a mirror "
            "that hosts.toml names by that address; a mirror at 127.0.0.1 is reached",
            f"containerd's environment has {' and '.join(settings.variables)}, and NO_PROXY "
            f"({settings.no_proxy or 'not set'}) does not cover {', '.join(captured[:_MOST_NAMED])}",
            "add the nodes' addresses, such as 10.0.0.0/8, to NO_PROXY of containerd's service "
            "(systemctl edit containerd), and restart it",
        )


def _name(environment: Mapping[str, str], name: str) -> str:
    return next((one for one in (name, name.lower()) if environment.get(one)), "")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _covers(entry: str, address: Address) -> bool:
    if not entry or entry == "*":
        return entry == "*"
    host = address.host.lower()
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        pass
    name, _, port = entry.rpartition(":")
    if name and port.isdigit() and not (":" in name and not name.startswith("[")):
        return int(port) == address.port and _covers(name.strip("[]"), address)
    suffix = entry.removeprefix("*")
    return host == suffix or host.endswith(suffix if suffix.startswith(".") else f".{suffix}")
