"""An upstream registry: the folders in which containerd looks for its hosts, and its own address. Pure."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from heliograph_shared.filters import registry_of, written_registry
from heliograph_shared.reference import DOCKER_HUB, is_registry, names_a_registry

DEFAULT = "_default"
"""The folder that containerd uses for every registry without a folder of its own."""

_DOCKER_HUB_HOST = "registry-1.docker.io"
_FILE_SUFFIXES = (
    *(".bak", ".cert", ".cer", ".conf", ".crt", ".json", ".key", ".log", ".md", ".old", ".orig", ".pem"),
    *(".tmp", ".toml", ".txt", ".yaml", ".yml"),
)
_escaped = re.compile(r"(?P<host>.+)_(?P<port>[0-9]{1,5})_\Z").match


class ConflictingRegistries(ValueError):
    """One registry is listed with two schemes."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is listed twice, with different schemes")
        self.host = host


@dataclass(frozen=True, slots=True)
class UpstreamRegistry:
    """`host` is `host[:port]` as in image names; `scheme` is empty unless the operator gave one."""

    host: str
    scheme: str = ""

    @classmethod
    def parse(cls, entry: str) -> Self:
        """From `host[:port]` or a URL. Raises `heliograph_shared.filters.InvalidFilter`.

        Capitals stay: containerd looks for the folder by the spelling of the image's name.
        """
        scheme, separator, _ = entry.partition("://")
        host = DOCKER_HUB if registry_of(entry) == DOCKER_HUB else written_registry(entry)
        return cls(host, scheme.lower() if separator else "")

    @property
    def server(self) -> str | None:
        """The URL to fall back to; None if containerd guesses the scheme, as it does for a loopback."""
        if self.host == DOCKER_HUB:
            return f"{self.scheme or 'https'}://{_DOCKER_HUB_HOST}"
        if not self.scheme and _is_loopback(self.host):
            return None
        return f"{self.scheme or 'https'}://{self.host}"

    @property
    def escaped_folder(self) -> str:
        """The folder name that containerd tries first: `host_port_`, or `host` without a port."""
        host, colon, port = self.host.rpartition(":")
        return f"{host}_{port}_" if colon and port.isdigit() else self.host


def unique(registries: Iterable[UpstreamRegistry]) -> tuple[UpstreamRegistry, ...]:
    """One per host, in order; an entry with a scheme replaces one without. Raises `ConflictingRegistries`."""
    by_host: dict[str, UpstreamRegistry] = {}
    for registry in registries:
        known = by_host.setdefault(registry.host, registry)
        if known.scheme and registry.scheme and known.scheme != registry.scheme:
            raise ConflictingRegistries(registry.host)
        if not known.scheme:
            by_host[registry.host] = registry
    return tuple(by_host.values())


def plain(folder: str) -> str:
    """`host:port` for `host_port_`; any other folder name as it is."""
    escaped = _escaped(folder)
    return f"{escaped['host']}:{escaped['port']}" if escaped else folder


def is_looked_up(folder: str) -> bool:
    """True if containerd looks for hosts in a folder of this name, for any image."""
    if folder == DEFAULT or is_registry(folder):
        return True
    escaped = _escaped(folder)
    return escaped is not None and is_registry(f"{escaped['host']}:{escaped['port']}")


def is_file_name(name: str) -> bool:
    """True if a file of this name in certs.d was hardly meant to be the folder of a registry."""
    return name != DEFAULT and (not names_a_registry(plain(name)) or name.lower().endswith(_FILE_SUFFIXES))


def _is_loopback(registry: str) -> bool:
    host, colon, port = registry.rpartition(":")
    if not colon or not port.isdigit() or registry.endswith("]"):
        host = registry
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
