"""The text of a `hosts.toml` (containerd, docs/hosts.md). Pure.

Each mirror gets a `[host."URL"]` table before all others: containerd asks the hosts in the order of their
tables, and 1.6 and 1.7 ignore a file without such a table. `skip_verify` is never written, since it makes
containerd try TLS first on an http URL. `server` is not written to `_default`, since every registry would be
sent there.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from heliograph_configurator.domain import ipv6_hosts
from heliograph_configurator.domain.mirror import MirrorHosts

HEADING = (
    "# Written by heliograph-configurator. What was here before lies in ../.heliograph/originals,\n"
    "# and `heliograph-configurator cleanup` brings it back.\n\n"
)

_SIGNATURE = b"Written by heliograph-configurator."

_line_of = re.compile(r"\(at line (\d+), column \d+\)").search


class BrokenHosts(ValueError):
    """The text is not a valid `hosts.toml`. `line` counts from 1; 0 if the error has no line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line, self.reason = line, reason


def parse(content: bytes) -> dict[str, Any]:
    """Each IPv6 host once, though what we write has it twice. Raises `BrokenHosts`."""
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
    return {**document, "host": ipv6_hosts.joined(hosts)} if hosts else document


def is_signed(content: bytes) -> bool:
    """True if the file has our heading: we wrote it, and somebody may have edited it since."""
    return _SIGNATURE in content


def new(mirror: MirrorHosts, server: str | None, certificates: Sequence[str]) -> bytes:
    """A file that names the mirrors, then `server`.

    `certificates` are files in the folder that containerd uses for the registry itself as long as there is no
    `hosts.toml`. Once there is one, it uses only files that are named there, so they are named for `server`.
    """
    root: dict[str, Any] = {"server": server} if server else {}
    return _encoded({**root, **_server_tls(certificates), "host": mirror.tables()})


def prepended(mirror: MirrorHosts, existing: Mapping[str, Any]) -> bytes:
    """The mirrors first, then all of `existing`. No `server` is added: containerd guesses it as before.

    An additional mirror that `existing` names already keeps the other settings it has there, such as
    certificates.
    """
    mirrors, others = mirror.tables(), {}
    for url, table in existing.get("host", {}).items():
        name = ipv6_hosts.bracketed(url)
        if name not in mirrors:
            others[name] = table
        elif not mirror.is_target(name):
            mirrors[name] = {**table, **mirrors[name]}
    return _encoded({**existing, "host": {**mirrors, **others}})


def _server_tls(certificates: Sequence[str]) -> dict[str, Any]:
    """As containerd reads a folder without `hosts.toml`: `.crt` is a CA, `.cert` a client certificate."""
    authorities = [name for name in certificates if name.endswith(".crt")]
    clients: list[Any] = []
    for name in certificates:
        if name.endswith(".cert"):
            key = f"{name.removesuffix('.cert')}.key"
            clients.append([name, key] if key in certificates else name)
    return ({"ca": authorities} if authorities else {}) | ({"client": clients} if clients else {})


def _encoded(document: Mapping[str, Any]) -> bytes:
    hosts = document.get("host", {})
    if not ipv6_hosts.are_in(hosts):
        return (HEADING + tomli_w.dumps(document, indent=2)).encode()
    root = tomli_w.dumps({key: value for key, value in document.items() if key != "host"}, indent=2)
    return (HEADING + "\n".join(filter(None, [root, ipv6_hosts.encoded(hosts)]))).encode()
