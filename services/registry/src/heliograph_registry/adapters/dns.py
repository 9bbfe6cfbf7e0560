"""Finds other nodes' registries by DNS, for example by the name of their headless Service."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from heliograph_shared.address import Address

log = structlog.get_logger()

_LOOK_UP_EVERY_S = 5.0
_MAX_WAIT_S = 0.05
_MOST_ADDRESSES = 4096


class DnsPeers:
    """Looks the names up when asked, at most every 5 s. Keeps the addresses while DNS does not answer."""

    def __init__(self, names: Sequence[Address]) -> None:
        self._names = names
        self._known: tuple[str, ...] = ()
        self._looked_up_at = -_LOOK_UP_EVERY_S
        self._looking: asyncio.Task[None] | None = None

    async def addresses(self, count: int) -> list[str]:
        """At most `count` of them, chosen at random; waits for DNS for at most 50 ms."""
        if self._names:
            await asyncio.wait([self._lookup()], timeout=_MAX_WAIT_S)
        return random.sample(self._known, min(count, len(self._known)))

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def _lookup(self) -> asyncio.Task[None]:
        fresh = time.monotonic() - self._looked_up_at < _LOOK_UP_EVERY_S
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
                log.warning("DNS lookup of peers failed", name=name.host, reason=str(error))
                continue
            known |= dict.fromkeys(str(Address(str(host), name.port)) for *_, (host, *_rest) in found)
        if known:
            self._known = tuple(known)[:_MOST_ADDRESSES]


@asynccontextmanager
async def open_dns_peers(names: Sequence[Address]) -> AsyncIterator[DnsPeers]:
    """Finds no peers if `names` is empty. The first lookup starts at once, because DNS may fail later."""
    peers = DnsPeers(names)
    try:
        await peers.addresses(0)
        yield peers
    finally:
        await peers.close()
