"""Finds the addresses of router replicas behind a gRPC target.

gRPC would hide the replicas behind one channel. To have a breaker for each, the registry resolves the names
of `dns:` targets itself, and opens a channel for each address.
"""

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from heliograph_shared.address import Address, InvalidAddress

_MOST = 32


@dataclass(frozen=True, slots=True)
class FixedTargets:
    """One gRPC target for each replica."""

    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A name that stands for all replicas, such as a headless Service, and their port."""

    name: Address


def parse_target(target: str) -> FixedTargets | Named:
    """What a gRPC target (https://grpc.github.io/grpc/core/md_doc_naming.html) says about the replicas.

    A target of another form than `ipv4:`, `ipv6:`, `dns:` or `host:port` counts as one replica; gRPC then
    spreads calls over whatever is behind it.
    """
    scheme, colon, rest = target.partition(":")
    if colon and scheme in {"ipv4", "ipv6"}:
        addresses = [part for part in rest.split(",") if part]
        return FixedTargets(tuple(f"{scheme}:{address}" for address in addresses[:_MOST]))
    if rest.startswith("//") and not rest.startswith("///"):
        return FixedTargets((target,))  # a name server of its own
    try:
        name = Address.parse(rest.removeprefix("///") if scheme == "dns" else target)
    except InvalidAddress:
        return FixedTargets((target,))
    if not name.host or not name.port:
        return FixedTargets((target,))
    return FixedTargets((_target(name),)) if _is_ip(name.host) else Named(name)


async def look_up(name: Address) -> Sequence[str]:
    """A gRPC target for each address that DNS knows, at most 32. Raises `OSError`."""
    found = await asyncio.get_running_loop().getaddrinfo(name.host, name.port, type=socket.SOCK_STREAM)
    hosts = dict.fromkeys(str(host) for *_, (host, *_rest) in found)
    return sorted(_target(Address(host, name.port)) for host in hosts)[:_MOST]


def _target(address: Address) -> str:
    return f"{'ipv6' if ':' in address.host else 'ipv4'}:{address}"


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
