"""URLs and durations as Go reads them, whose rules decide what containerd accepts in a `hosts.toml`. Pure.

Go packages net/url (`Parse`) and time (`ParseDuration`).
"""

import ipaddress
import re
import string
from dataclasses import dataclass

_HOST_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-_.~!$&'()*+,;=:[]<>\"")
_USER_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-._:~!$&'()*+,;=%@")
_MAX_NANOSECONDS = (1 << 63) - 1

_scheme = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):").match
_bad_escape = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_ascii_escape = re.compile(r"%(?!25)[0-7]").search
_port = re.compile(r"(?::[0-9]*)?\Z").match
_duration = re.compile(r"[-+]?(?:0|(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)\Z").match
_terms = re.compile(r"([0-9.]+)(ns|us|µs|μs|ms|s|m|h)").findall
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}


class NotGo(ValueError):
    """Go's parser returns an error for it."""


@dataclass(frozen=True, slots=True)
class GoUrl:
    """`host` is `host[:port]`, empty for a URL without an authority."""

    scheme: str
    host: str
    path: str


def url(text: str, *, strict_colons: bool) -> GoUrl:
    """`strict_colons` as from Go 1.26 on: an IPv6 address needs brackets. Raises `NotGo`."""
    if any(character < " " or character == "\x7f" for character in text):
        raise NotGo("a control character")
    text, _, fragment = text.partition("#")
    if _bad_escape(fragment):
        raise NotGo("an invalid escape")
    found = _scheme(text)
    scheme = found[1].lower() if found else ""
    rest = (text[found.end() :] if found else text).partition("?")[0]
    if not rest.startswith("/"):
        if not scheme and ":" in rest.partition("/")[0]:
            raise NotGo("a colon in the first segment of its path")
        if scheme:
            return GoUrl(scheme, "", "")
    host, path = "", rest
    if scheme and rest.startswith("//"):
        authority, slash, tail = rest[2:].partition("/")
        host, path = _host(authority, strict_colons=strict_colons), slash + tail
    if _bad_escape(path):
        raise NotGo("an invalid escape")
    return GoUrl(scheme, host, path)


def is_duration(text: str) -> bool:
    if not _duration(text):
        return False
    units = {**_UNITS, "h": 60 * _UNITS["m"]}
    return sum(float(number) * units[unit] for number, unit in _terms(text)) <= _MAX_NANOSECONDS


def _host(authority: str, *, strict_colons: bool) -> str:
    user, at, host = authority.rpartition("@")
    if at and (set(user) - _USER_CHARACTERS or _bad_escape(user)):
        raise NotGo("an invalid user name")
    start = host.rfind("[")
    if start > 0:
        raise NotGo("a bracket in its host")
    if start == 0:
        _check_ipv6(host)
        return host
    colon = host.find(":") if strict_colons else host.rfind(":")
    if colon >= 0 and not _port(host[colon:]):
        raise NotGo("an IPv6 address without brackets" if host.count(":") > 1 else "an invalid port")
    if _bad_escape(host) or _ascii_escape(host):
        raise NotGo("an invalid escape in its host")
    if {character for character in host if character.isascii()} - _HOST_CHARACTERS - {"%"}:
        raise NotGo("an invalid character in its host")
    return host


def _check_ipv6(host: str) -> None:
    address, bracket, port = host[1:].rpartition("]")
    if not bracket or not _port(port):
        raise NotGo("an invalid port")
    try:
        ipaddress.IPv6Address(address.replace("%25", "%"))
    except ValueError as error:
        raise NotGo("an invalid IPv6 address") from error
