"""Puts mirrors before the hosts of an existing `hosts.toml`, all of which containerd still asks. Pure.

That is checked for each series of containerd, with what it makes of the old and the new file.
"""

from collections.abc import Sequence

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


def with_mirrors(mirror: MirrorHosts, content: bytes, certificates: Sequence[str]) -> bytes:
    """Each containerd that reads `content` asks the mirrors, then exactly what it asked before.

    `certificates` lie beside the file; a containerd that ignores the file uses them. Raises `BrokenHosts` if
    every containerd ignores `content`, or if there is no file with the same meaning.
    """
    dropped = ignored(content)
    if dropped and any(name.encode() not in content for name in certificates):
        series, reason = next(iter(dropped.items()))
        raise BrokenHosts(
            0, f"containerd {series.value} ignores it and uses the certificates beside it: {reason}"
        )
    written = hosts_toml.prepended(mirror, hosts_toml.parse(content))
    alone = hosts_toml.new(mirror, None, ())
    for series in Series:
        if series in dropped:
            continue
        ours = read(alone, series).hosts[:-1]
        if not _keeps(read(content, series).hosts, read(written, series), ours):
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
