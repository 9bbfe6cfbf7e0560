"""The text of a `hosts.toml` (containerd, docs/hosts.md). Pure.

A mirror gets an explicit `[host."URL"]` table before all others, for containerd asks in the order of the
tables, and 1.6 and 1.7 ignore a file without one. `skip_verify` is left out: it makes containerd try TLS on
an http URL first. In `_default`, `server` is left out: every registry would be sent there.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from heliograph_configurator.domain.mirror import Mirror, table_of

HEADING = (
    "# Written by heliograph-configurator. What was here before lies in ../.heliograph/originals,\n"
    "# and `heliograph-configurator cleanup` brings it back.\n\n"
)

_line_of = re.compile(r"\(at line (\d+), column \d+\)").search


class BrokenHosts(ValueError):
    """The text is not a `hosts.toml`. `line` counts from 1, 0 when the fault has no line."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line, self.reason = line, reason


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
    """The mirror first, then all of `existing`, which keeps its own `server` if it names one.

    A mirror of somebody else's that it names already keeps what is said there, certificates above all.
    """
    root = {"server": server} if server and "server" not in existing else {}
    ours, theirs = mirror.tables(), {}
    for url, table in existing.get("host", {}).items():
        name = table_of(url)
        if name not in ours:
            theirs[url] = table
        elif not mirror.is_ours(name):
            ours[name] = {**table, **ours[name]}
    return _text({**root, **existing, "host": {**ours, **theirs}})


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
