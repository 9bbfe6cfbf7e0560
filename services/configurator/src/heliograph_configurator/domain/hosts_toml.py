"""The text of a `hosts.toml` (containerd, docs/hosts.md). Pure.

A mirror gets an explicit `[host."URL"]` table before all others, for containerd asks in the order of the
tables, and 1.6 and 1.7 ignore a file without one. `skip_verify` is left out: it makes containerd try TLS on
an http URL first. In `_default`, `server` is left out: every registry would be sent there.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tomli_w

HEADING = (
    "# Written by heliograph-configurator. What was here before lies in ../.heliograph/originals,\n"
    "# and `heliograph-configurator cleanup` brings it back.\n\n"
)

_ipv6 = re.compile(
    r"(?P<scheme>https?)://\[(?P<address>[0-9A-Fa-f:.]+)\](?::(?P<port>[0-9]+))?(?P<path>(?:/.*)?)\Z"
).match
_line_of = re.compile(r"\(at line (\d+), column \d+\)").search


class BrokenHosts(ValueError):
    """The text is not a `hosts.toml`. `line` counts from 1, 0 when the fault has no line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line, self.reason = line, reason


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where containerd is sent first: URLs in order, asked for tags too when `resolves_tags`."""

    targets: tuple[str, ...]
    resolves_tags: bool

    def tables(self) -> dict[str, Any]:
        capabilities = ["pull", "resolve"] if self.resolves_tags else ["pull"]
        return {_table_of(target): {"capabilities": capabilities} for target in self.targets}


def parse(content: bytes) -> dict[str, Any]:
    """Raises `BrokenHosts`."""
    try:
        document = tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise BrokenHosts(content.count(b"\n", 0, error.start) + 1, "not UTF-8") from error
    except (ValueError, RecursionError) as error:
        line = _line_of(str(error))
        at = int(line[1]) if line else content.count(b"\n") + 1
        raise BrokenHosts(at, str(error)[:300]) from error
    hosts = document.get("host", {})
    if not isinstance(hosts, dict) or not all(isinstance(host, dict) for host in hosts.values()):
        raise BrokenHosts(0, "`host` does not hold tables")
    return document


def new(mirror: Mirror, server: str | None, certificates: Sequence[str]) -> bytes:
    """A file that names the mirror, then `server`.

    `certificates` are the files beside it that containerd would use if there were no `hosts.toml`: it stops
    looking for them once there is one, so they are named for `server`.
    """
    root: dict[str, Any] = {"server": server} if server else {}
    return _text({**root, **_tls(certificates), "host": mirror.tables()})


def prepended(mirror: Mirror, server: str | None, existing: Mapping[str, Any]) -> bytes:
    """The mirror first, then all of `existing`, which keeps its own `server` if it names one."""
    root = {"server": server} if server and "server" not in existing else {}
    ours = mirror.tables()
    theirs = {url: table for url, table in existing.get("host", {}).items() if _table_of(url) not in ours}
    return _text({**root, **existing, "host": {**ours, **theirs}})


def _table_of(url: str) -> str:
    """The name of a host's table: the URL, with an IPv6 address and its port but without brackets.

    In a table's name 1.6 and 1.7 refuse brackets, quoted or not, and with them the file. All versions take
    the last colon for the port's; one compiled for Go 1.26 or newer will want the brackets back.
    """
    ipv6 = _ipv6(url)
    if ipv6 is None:
        return url
    port = ipv6["port"] or ("443" if ipv6["scheme"] == "https" else "80")
    return f"{ipv6['scheme']}://{ipv6['address']}:{port}{ipv6['path']}"


def _tls(certificates: Sequence[str]) -> dict[str, Any]:
    """As containerd reads a folder without `hosts.toml`: `.crt` is an authority, `.cert` a client's."""
    authorities = [name for name in certificates if name.endswith(".crt")]
    clients: list[Any] = []
    for name in certificates:
        if name.endswith(".cert"):
            key = f"{name.removesuffix('.cert')}.key"
            clients.append([name, key] if key in certificates else name)
    return ({"ca": authorities} if authorities else {}) | ({"client": clients} if clients else {})


def _text(document: Mapping[str, Any]) -> bytes:
    return (HEADING + tomli_w.dumps(document, indent=2)).encode()
