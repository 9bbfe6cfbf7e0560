"""Registries of other nodes by DNS, such as the headless Service in front of them all."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from heliograph_shared.address import Address

log = structlog.get_logger()

_FRESH_S = 5.0
_WAITED_FOR_S = 0.05
_MOST_ADDRESSES = 4096


class DnsPeers:
    """Looks names up when it is asked, at most every 5 s; what was known stays while DNS does not answer."""

    def __init__(self, names: Sequence[Address]) -> None:
        self._names = names
        self._known: tuple[str, ...] = ()
        self._looked_up_at = -_FRESH_S
        self._looking: asyncio.Task[None] | None = None

    async def addresses(self, count: int) -> list[str]:
        """At most `count` of them, drawn at random; waits for DNS for 50 ms at most."""
        if self._names:
            await asyncio.wait([self._lookup()], timeout=_WAITED_FOR_S)
        return random.sample(self._known, min(count, len(self._known)))

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def _lookup(self) -> asyncio.Task[None]:
        fresh = time.monotonic() - self._looked_up_at < _FRESH_S
        if self._looking is None or (self._looking.done() and not fresh):
            self._looking = asyncio.create_task(self._look_up())
        return self._looking

    async def _look_up(self) -> None:
        self._looked_up_at = time.monotonic()
        known: dict[str, None] = {}
        for name in self._names:
            try:
                found = await asyncio.get_running_loop().getaddrinfo(
                    name.host, name.port, type=socket.SOCK_STREAM
                )
            except OSError as error:
                log.warning("DNS does not tell peers", name=name.host, reason=str(error))
                continue
            known |= dict.fromkeys(str(Address(str(host), name.port)) for *_, (host, *_rest) in found)
        if known:
            self._known = tuple(known)[:_MOST_ADDRESSES]


@asynccontextmanager
async def open_dns_peers(names: Sequence[Address]) -> AsyncIterator[DnsPeers]:
    """None without a name. The first lookup begins at once: later there may be no DNS."""
    peers = DnsPeers(names)
    try:
        await peers.addresses(0)
        yield peers
    finally:
        await peers.close()
