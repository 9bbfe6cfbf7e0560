"""Finds this node's own address: the source address of the kernel's route to the bus."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

_TIMEOUT_S = 2.0
_NATS_PORT = 4222


class KernelRoute:
    """`servers` are URLs of the bus; the first with a route decides."""

    def __init__(self, servers: Sequence[str]) -> None:
        self._servers = servers

    async def own_host(self) -> str | None:
        """None if no server's name resolves, or none has a route."""
        for server in self._servers:
            parts = urlsplit(server if "://" in server else f"nats://{server}")
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    found = await asyncio.get_running_loop().getaddrinfo(
                        parts.hostname, parts.port or _NATS_PORT, type=socket.SOCK_DGRAM
                    )
            except OSError:  # the name does not resolve yet, or not in time (TimeoutError)
                continue
            for family, kind, protocol, _, target in found:
                if host := _source_towards(family, kind, protocol, target):
                    return host
        return None


def _source_towards(family: int, kind: int, protocol: int, target: tuple[object, ...]) -> str | None:
    """The source address of packets to `target`; connecting a UDP socket sends none."""
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(target)
            host = str(probe.getsockname()[0])
    except OSError:
        return None
    address = ip_address(host)
    return None if address.is_unspecified or address.is_link_local else host
