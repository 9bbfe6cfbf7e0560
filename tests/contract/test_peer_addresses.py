"""What the registry expects of addresses that it draws when it knows no peer: in memory, and from DNS."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest

from heliograph_registry.adapters.dns import open_dns_peers
from heliograph_registry.mirror.ports import PeerAddresses
from heliograph_shared.address import Address
from tests.support.fakes.node import MemoryDiscovery

KNOWN = [f"127.0.0.{number}:5000" for number in range(1, 7)]


@pytest.fixture(params=["memory", "dns"])
async def discovery(request: pytest.FixtureRequest) -> AsyncIterator["Discovery"]:
    async with AsyncExitStack() as stack:
        yield Discovery(request.param, stack)


class Discovery:
    def __init__(self, kind: str, stack: AsyncExitStack) -> None:
        self._kind, self._stack = kind, stack

    async def of(self, known: Sequence[str]) -> PeerAddresses:
        """Where these addresses are known; to DNS each is a name of its own."""
        if self._kind == "memory":
            return MemoryDiscovery(*known)
        opened = open_dns_peers([Address.parse(address) for address in known])
        return await self._stack.enter_async_context(opened)


async def test_all_are_drawn_where_there_are_not_more(discovery: Discovery) -> None:
    assert sorted(await (await discovery.of(KNOWN)).addresses(6)) == KNOWN
    assert sorted(await (await discovery.of(KNOWN)).addresses(100)) == KNOWN


async def test_no_more_are_drawn_than_asked_for_and_each_once(discovery: Discovery) -> None:
    peers = await discovery.of(KNOWN)
    for _ in range(20):
        drawn = set(await peers.addresses(3))
        assert len(drawn) == 3
        assert drawn <= set(KNOWN)


async def test_another_draw_gives_others(discovery: Discovery) -> None:
    peers = await discovery.of(KNOWN)
    draws = {frozenset(await peers.addresses(1)) for _ in range(200)}
    assert len(draws) > 1


async def test_nobody_is_known_without_names(discovery: Discovery) -> None:
    assert list(await (await discovery.of([])).addresses(8)) == []
