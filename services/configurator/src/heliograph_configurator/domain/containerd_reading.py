"""What each containerd makes of a `hosts.toml`: the hosts that it asks, or that it ignores the file. Pure.

containerd checks more than the syntax: with one value of a wrong type, a capability that it does not know or
a URL that Go does not parse, it silently ignores the whole file and asks the registry itself. The rules are
those of its package remotes/docker/config (`parseHostsFile`); the tests compare them with real containerds.
"""

import math
import posixpath
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Self

from heliograph_configurator.domain import go_syntax
from heliograph_configurator.domain.go_syntax import NotGo
from heliograph_configurator.domain.headings import headings
from heliograph_configurator.domain.ipv6_hosts import bracketed

NO_HOST = "it names no host"
"""Why containerd 1 drops a file that may be all right for others, such as one with `server` alone."""

_CAPABILITIES = frozenset({"pull", "resolve", "push"})


class Series(Enum):
    """Versions of containerd that read the file in the same way; the value is for a person."""

    V1 = "1.6 and 1.7"
    V2_0 = "2.0 and 2.1"
    V2_2 = "2.2 and newer"

    @property
    def capabilities(self) -> frozenset[str]:
        return _CAPABILITIES | {"referrers"} if self is Series.V2_2 else _CAPABILITIES

    @property
    def strict_colons(self) -> bool:
        """True if it may be built with Go 1.26, as 2.4 is."""
        return self is Series.V2_2


@dataclass(frozen=True, slots=True)
class AskedHost:
    """`url` is empty for the registry itself, by its own name. The rest is as in the file."""

    url: str
    capabilities: frozenset[str]
    ca: tuple[str, ...] | None = None
    client: tuple[tuple[str, ...], ...] | None = None
    header: tuple[tuple[str, tuple[str, ...]], ...] = ()
    skip_verify: bool | None = None
    dial_timeout: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """The hosts in the order in which they are asked; none, with the reason, if the file is `dropped`."""

    hosts: tuple[AskedHost, ...] = ()
    dropped: str = ""


class _Dropped(Exception):
    pass


def read(content: bytes, series: Series) -> Reading:
    """Of TOML 1.0. Raises `ValueError` for anything else, even if some containerd accepts it."""
    try:
        return Reading(tuple(dict.fromkeys(_Reader.of(content.decode(), series).hosts())))
    except _Dropped as error:
        return Reading(dropped=str(error))


def dropped_by(content: bytes) -> dict[Series, str]:
    """The containerds that ignore the file, each with the reason. Raises `ValueError` like `read`."""
    readings = {series: read(content, series) for series in Series}
    return {series: reading.dropped for series, reading in readings.items() if reading.dropped}


@dataclass(frozen=True, slots=True)
class _Reader:
    document: Mapping[str, Any]
    order: tuple[str, ...]
    series: Series

    @classmethod
    def of(cls, text: str, series: Series) -> Self:
        document = _for_1(text) if series is Series.V1 else tomllib.loads(text)
        hosts = document.get("host", {}) if series is Series.V1 else _get(document, "host", series, {})
        if not isinstance(hosts, dict) or not all(isinstance(host, dict) for host in hosts.values()):
            raise _Dropped("`host` does not hold tables")
        if series is Series.V1:
            if not hosts:
                raise _Dropped(NO_HOST)
            return cls(document, _order_of_1(text, hosts), series)
        return cls(document, tuple(_headed(text)), series)

    def hosts(self) -> Iterator[AskedHost]:
        tables = _get(self.document, "host", self.series, {})
        checked = {name: self._host(name, tables[name], f"host {name}: ") for name in self.order}
        for name in _strays(tables, self.order):  # not asked, but a wrong type in one counts
            self._check_types(tables[name], f"host {name}: ")
        server = _get(self.document, "server", self.series, "")
        if not isinstance(server, str):
            raise _Dropped("server is not a string")
        last = self._host(server, self.document, "server: ")
        for name, host in checked.items():
            yield host if host.url else replace(host, url=f"no address: {name}")
        if not last.url:
            last = replace(last, capabilities=self.series.capabilities)
        yield last

    def _host(self, name: str, table: Mapping[str, Any], at: str) -> AskedHost:
        overrides = self._typed(table, "override_path", bool, at)
        try:
            url = self._url(name, overrides=bool(overrides)) if name else ""
        except NotGo as error:
            raise _Dropped(f"{at}{name!r} has {error}") from error
        self._check_types(table, at)
        timeout = "" if self.series is Series.V1 else _get(table, "dial_timeout", self.series, "")
        if timeout and not go_syntax.is_duration(timeout):
            raise _Dropped(f"{at}dial_timeout is not a duration with a unit: {timeout!r}")
        return AskedHost(
            url,
            self._capabilities(table, at),
            _files(_get(table, "ca", self.series), f"{at}ca"),
            _pairs(_get(table, "client", self.series), f"{at}client"),
            _headers(_get(table, "header", self.series, {}), at),
            self._typed(table, "skip_verify", bool, at),
            timeout,
        )

    def _url(self, name: str, *, overrides: bool) -> str:
        parsed = go_syntax.url(
            name if name.startswith("http") else f"https://{name}", strict_colons=self.series.strict_colons
        )
        path = posixpath.normpath(parsed.path).replace("//", "/") if parsed.path else ""
        if not overrides:
            path = path if path.endswith("/v2") else f"{path.rstrip('/')}/v2"
        if not parsed.host:
            return ""
        return bracketed(f"{parsed.scheme}://{parsed.host}") + path

    def _check_types(self, table: Mapping[str, Any], at: str) -> None:
        self._typed(table, "skip_verify", bool, at)
        self._typed(table, "override_path", bool, at)
        self._typed(table, "header", dict, at)
        named = self._typed(table, "capabilities", list, at) or []
        if not all(isinstance(one, str) for one in named):
            raise _Dropped(f"{at}capabilities holds something else than strings")
        if self.series is not Series.V1:
            self._typed(table, "dial_timeout", str, at)

    def _typed(self, table: Mapping[str, Any], key: str, kind: type, at: str) -> Any:
        value = _get(table, key, self.series)
        if value is not None and not isinstance(value, kind):
            raise _Dropped(f"{at}{key} is not {_KINDS[kind]}")
        return value

    def _capabilities(self, table: Mapping[str, Any], at: str) -> frozenset[str]:
        named = [one.lower() for one in _get(table, "capabilities", self.series) or []]
        if unknown := [one for one in named if one not in self.series.capabilities]:
            raise _Dropped(f"{at}unknown capability {unknown[0]!r}")
        return frozenset(named) or self.series.capabilities


_KINDS: Mapping[type, str] = {bool: "a boolean", dict: "a table", list: "an array", str: "a string"}


def _get(table: Mapping[str, Any], key: str, series: Series, default: Any = None) -> Any:
    """Containerd 2 ignores the case of keys, and takes the last; containerd 1 also knows them in capitals."""
    spellings = (
        [key, key.upper()] if series is Series.V1 else [k for k in list(table)[::-1] if k.lower() == key]
    )
    return next((table[name] for name in spellings if name in table), default)


def _for_1(text: str) -> Mapping[str, Any]:
    """As containerd 1 reads it: it decodes no escape sequences in headings, and rejects brackets there."""
    document = tomllib.loads(text, parse_float=_float_of_1)
    if any(not -(1 << 63) <= number < 1 << 63 for number in _integers(document)):
        raise _Dropped("a number is too large")
    raw = text
    for heading in reversed(list(headings(text))):
        if "[" in heading.text or "]" in heading.text:
            raise _Dropped(f"brackets in the heading [{heading.text}]")
        escaped = heading.text.replace("\\", "\\\\")
        raw = raw[: heading.start] + escaped + raw[heading.start + len(heading.text) :]
    return tomllib.loads(raw) if raw != text else document


def _float_of_1(text: str) -> float:
    number = float(text.replace("_", ""))
    if math.isinf(number) and "inf" not in text:
        raise _Dropped("a number is too large")
    return number


def _order_of_1(text: str, hosts: Mapping[str, Any]) -> tuple[str, ...]:
    """By the line of their own heading, or of their first mention."""
    own = [name for name, depth in _names(text, raw=True) if depth == 2]
    late = {name for at, name in enumerate(own) if name in own[:at]}
    if late or [name for name in hosts if name in own] == list(dict.fromkeys(own)):
        return tuple(hosts)
    return tuple(sorted(hosts, key=lambda name: own.index(name) if name in own else -1))


def _headed(text: str) -> Iterator[str]:
    """A heading below the one before it, such as that of its headers, does not count again."""
    last = ""
    for name, _ in _names(text, raw=False):
        if name != last:
            yield name
        last = name


def _names(text: str, *, raw: bool) -> Iterator[tuple[str, int]]:
    """The host of each heading `[host.NAME...]`, with the number of the heading's keys."""
    for heading in headings(text):
        inner = heading.text.replace("\\", "\\\\") if raw else heading.text
        keys, table = [], tomllib.loads(f"[{inner}]")
        while table:
            key, table = next(iter(table.items()))
            keys.append(key)
        if not heading.of_array and len(keys) > 1 and keys[0] == "host":
            yield keys[1], len(keys)


def _strays(tables: Mapping[str, Any], order: tuple[str, ...]) -> Iterator[str]:
    yield from (name for name in tables if name not in order)


def _integers(value: object) -> Iterator[int]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _integers(one)
    elif isinstance(value, int):
        yield value


def _files(value: object, at: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    named = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in named):
        raise _Dropped(f"{at} is neither a string nor an array of strings")
    return tuple(named)


def _pairs(value: object, at: str) -> tuple[tuple[str, ...], ...] | None:
    if value is None:
        return None
    pairs = [
        one if isinstance(one, list) else [one] for one in (value if isinstance(value, list) else [value])
    ]
    listed = value if isinstance(value, list) else []
    if not all(isinstance(file, str) for pair in pairs for file in pair):
        raise _Dropped(f"{at} names something else than files")
    if any(isinstance(one, list) and len(one) != 2 for one in listed):
        raise _Dropped(f"{at} holds a list that is not a certificate and its key")
    return tuple(map(tuple, pairs))


def _headers(header: Mapping[str, Any], at: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    values = {name: value if isinstance(value, list) else [value] for name, value in header.items()}
    for name, listed in values.items():
        if not all(isinstance(one, str) for one in listed):
            raise _Dropped(f"{at}header {name} is neither a string nor an array of strings")
    return tuple(sorted((name, tuple(listed)) for name, listed in values.items()))
