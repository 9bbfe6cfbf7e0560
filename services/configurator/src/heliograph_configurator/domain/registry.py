"""A registry that is mirrored: the folders in which containerd looks for it, and its own address."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from heliograph_shared.filters import registry_of
from heliograph_shared.reference import DOCKER_HUB, is_registry

DEFAULT = "_default"
"""The folder of every registry that has none of its own."""

_DOCKER_HUB_HOST = "registry-1.docker.io"
_escaped = re.compile(r"(?P<host>.+)_(?P<port>[0-9]{1,5})_\Z").match


class ConflictingRegistries(ValueError):
    """One registry is named with two schemes."""

    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is named twice, with different schemes")
        self.host = host


@dataclass(frozen=True, slots=True)
class Registry:
    """`host` is `host[:port]` as in image names; `scheme` is empty unless the operator gave one."""

    host: str
    scheme: str = ""

    @classmethod
    def parse(cls, entry: str) -> Self:
        """From `host[:port]` or a URL. Raises `heliograph_shared.filters.InvalidFilter`."""
        scheme, separator, _ = entry.partition("://")
        return cls(registry_of(entry), scheme.lower() if separator else "")

    @property
    def server(self) -> str | None:
        """The URL to fall back to; None leaves it to containerd, which guesses the scheme of a loopback."""
        if self.host == DOCKER_HUB:
            return f"{self.scheme or 'https'}://{_DOCKER_HUB_HOST}"
        if not self.scheme and _is_loopback(self.host):
            return None
        return f"{self.scheme or 'https'}://{self.host}"

    @property
    def escaped_folder(self) -> str:
        """The spelling that containerd looks for first: `host_port_`; without a port, the plain one."""
        host, colon, port = self.host.rpartition(":")
        return f"{host}_{port}_" if colon and port.isdigit() else self.host


def unique(registries: Iterable[Registry]) -> tuple[Registry, ...]:
    """One for each host, in order; a scheme wins over none. Raises `ConflictingRegistries`."""
    by_host: dict[str, Registry] = {}
    for registry in registries:
        known = by_host.setdefault(registry.host, registry)
        if known.scheme and registry.scheme and known.scheme != registry.scheme:
            raise ConflictingRegistries(registry.host)
        if not known.scheme:
            by_host[registry.host] = registry
    return tuple(by_host.values())


def is_looked_up(folder: str) -> bool:
    """Whether containerd would look for hosts in a folder of this name, for whatever image."""
    if folder == DEFAULT or is_registry(folder):
        return True
    escaped = _escaped(folder)
    return escaped is not None and is_registry(f"{escaped['host']}:{escaped['port']}")


def _is_loopback(registry: str) -> bool:
    host, colon, port = registry.rpartition(":")
    if not colon or not port.isdigit() or registry.endswith("]"):
        host = registry
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
