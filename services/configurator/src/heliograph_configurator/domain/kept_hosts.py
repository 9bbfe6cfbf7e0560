"""Puts mirrors before the hosts of an existing `hosts.toml`, all of which containerd still asks. Pure.

That is checked for each series of containerd, with what it makes of the old and the new file.
"""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from heliograph_configurator.domain import hosts_toml
from heliograph_configurator.domain.containerd_reading import AskedHost, Reading, Series, dropped_by, read
from heliograph_configurator.domain.hosts_toml import BrokenHosts
from heliograph_configurator.domain.mirror import MirrorHosts


def ignored(content: bytes) -> dict[Series, str]:
    """The containerds that ignore the file, and why. Raises `BrokenHosts` if all do."""
    hosts_toml.parse(content)
    dropped = dropped_by(content)
    if len(dropped) == len(Series):
        raise BrokenHosts(0, f"containerd ignores all of it: {dropped[Series.V2_2]}")
    return dropped


def with_mirrors(mirror: MirrorHosts, content: bytes, certificates: Sequence[str], base: str = "") -> bytes:
    """Each containerd that reads `content` asks the mirrors, then exactly what it asked before.

    `certificates` lie beside the file; a containerd that ignores the file uses them. `base` is the folder of
    `content` if the new file will be in another one. Raises `BrokenHosts` if
    every containerd ignores `content`, or if there is no file with the same meaning.
    """
    dropped = ignored(content)
    if dropped and any(posixpath.basename(name).encode() not in content for name in certificates):
        series, reason = next(iter(dropped.items()))
        raise BrokenHosts(
            0, f"containerd {series.value} ignores it and uses the certificates beside it: {reason}"
        )
    written = hosts_toml.prepended(mirror, _based(hosts_toml.parse(content), base))
    alone = hosts_toml.new(mirror, None, ())
    for series in Series:
        if series in dropped:
            continue
        ours = read(alone, series).hosts[:-1]
        before = [_host_based(host, base) for host in read(content, series).hosts]
        if not _keeps(before, read(written, series), ours):
            raise BrokenHosts(
                0,
                'its hosts cannot be kept after the mirrors, since they are not written as [host."URL"]: '
                f"containerd {series.value} would ask others than before",
            )
    return written


def _keeps(before: Sequence[AskedHost], after: Reading, ours: Sequence[AskedHost]) -> bool:
    mirrors = [host.url for host in ours]
    if [host.url for host in after.hosts[: len(ours)]] != mirrors:
        return False
    return _others(after.hosts, mirrors) == _others(before, mirrors)


def _others(hosts: Sequence[AskedHost], mirrors: Sequence[str]) -> list[AskedHost]:
    return [host for host in hosts if host.url not in mirrors]


def _based(document: Mapping[str, Any], base: str) -> dict[str, Any]:
    """With the full paths of the files that it names."""
    tables = {name: {**table, **_paths(table, base)} for name, table in document.get("host", {}).items()}
    return {**document, **_paths(document, base), **({"host": tables} if tables else {})}


def _paths(table: Mapping[str, Any], base: str) -> dict[str, Any]:
    return {key: _path(table[key], base) for key in table if key.lower() in {"ca", "client"}}


def _path(value: Any, base: str) -> Any:
    if isinstance(value, list):
        return [_path(one, base) for one in value]
    return posixpath.join(base, value) if isinstance(value, str) else value


def _host_based(host: AskedHost, base: str) -> AskedHost:
    def full(files: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(posixpath.join(base, file) for file in files)

    client = None if host.client is None else tuple(map(full, host.client))
    return replace(host, ca=None if host.ca is None else full(host.ca), client=client)
