"""Hosts of a `hosts.toml` whose URL has an IPv6 address, written so that every containerd reads them. Pure.

containerd 1.6 and 1.7 reject a file with brackets in a table's heading, quoted or not. A containerd built
with Go 1.26 or newer, such as 2.4, rejects one with an IPv6 address without brackets. So such a host is
written twice:

- for containerd 1 by dotted keys in the table `[host]`, which may have brackets. containerd 2 takes hosts
  only from headings such as `[host."URL"]`. The URL is spelt otherwise, since TOML allows a table only once.
- for containerd 2 under a heading with escape sequences. containerd 1 does not decode them there, and ignores
  the table, whose name it does not know.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import tomli_w

_with_brackets = re.compile(
    r"(?P<scheme>https?)://\[(?P<address>[0-9A-Fa-f:.]+)\](?::(?P<port>[0-9]+))?(?P<path>(?:/.*)?)\Z"
).match
_without_brackets = re.compile(
    r"(?P<scheme>https?)://(?P<address>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*):(?P<port>[0-9]+)(?P<path>(?:/.*)?)\Z"
).match
_heading = re.compile(r"^(\[\[?)HOST\.URL", re.MULTILINE)
_ALL_OF_1 = ["pull", "resolve", "push"]
"""What a host of containerd 1 is asked for if it names no capabilities."""


def bracketed(url: str) -> str:
    """The URL with brackets around an IPv6 address; what follows its last colon is the port."""
    ipv6 = _without_brackets(url)
    return f"{ipv6['scheme']}://[{ipv6['address']}]:{ipv6['port']}{ipv6['path']}" if ipv6 else url


def unbracketed(url: str) -> str:
    """The URL without the brackets, with a port: as containerd 1 can read it in a heading."""
    ipv6 = _with_brackets(url)
    if ipv6 is None:
        return url
    port = ipv6["port"] or ("443" if ipv6["scheme"] == "https" else "80")
    return f"{ipv6['scheme']}://{ipv6['address']}:{port}{ipv6['path']}"


def are_in(hosts: Mapping[str, Any]) -> bool:
    return any(map(_with_brackets, hosts))


def joined(hosts: Mapping[str, Any]) -> dict[str, Any]:
    """Each host once, where it was written twice."""
    kept: dict[str, Any] = {}
    for url in reversed(list(hosts)):  # the spelling for containerd 1 comes first
        if not any(_with_brackets(name) and url == _spelt_for_1(name, kept[name]) for name in kept):
            kept[url] = hosts[url]
    return dict(reversed(kept.items()))


def encoded(hosts: Mapping[str, Any]) -> str:
    """The tables in order; those of IPv6 addresses twice, for containerd 1 all where the first one is."""
    for_1 = [line for url, table in hosts.items() if _with_brackets(url) for line in _dotted(url, table)]
    blocks = []
    for url, table in hosts.items():
        if not _with_brackets(url):
            blocks.append(tomli_w.dumps({"host": {url: table}}, indent=2))
            continue
        if for_1:
            blocks.append("".join(["[host]\n", *for_1]))
            for_1 = []
        blocks.append(_escaped(url, table))
    return "\n".join(blocks)


def _spelt_for_1(url: str, table: Mapping[str, Any]) -> str:
    """Another URL that means the same: containerd adds /v2 itself unless `override_path` is set."""
    if table.get("override_path") is True:
        return unbracketed(url)
    return url.removesuffix("/v2") if url.endswith("/v2") else f"{url.rstrip('/')}/v2"


def _dotted(url: str, table: Mapping[str, Any]) -> Iterator[str]:
    name = _key(_spelt_for_1(url, table))
    for keys, value in _values({"capabilities": _ALL_OF_1, **table}):
        assigned = tomli_w.dumps({"value": value}, indent=2).partition(" = ")[2]
        yield f"  {'.'.join([name, *map(_key, keys)])} = {assigned}"


def _values(table: Mapping[str, Any], *path: str) -> Iterator[tuple[list[str], Any]]:
    """Every value below, with its keys; lists of tables are left out, which no setting of a host is."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _values(value, *path, key)
        elif not (isinstance(value, list) and any(isinstance(one, Mapping) for one in value)):
            yield [*path, key], value


def _escaped(url: str, table: Mapping[str, Any]) -> str:
    name = _key(url).replace("[", r"\u005b").replace("]", r"\u005d")
    heading = rf'["\u0068ost".{name}'
    text = tomli_w.dumps({"HOST": {"URL": table}}, indent=2)
    return _heading.sub(lambda found: found[1][1:] + heading, text)


def _key(key: str) -> str:
    return tomli_w.dumps({key: 0}).removesuffix(" = 0\n")
