"""Replicas behind a DNS name, which may come, go, and be unknown."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_registry.adapters.router_client.resolver import GrpcResolver, open_resolver
from heliograph_registry.mirror.errors import ResolverUnavailable
from heliograph_shared.digest import digest_of
from tests.support.ports import free_port
from tests.support.resolver import KnownContent, serve_resolver
from tests.support.waiting import eventually

HELD = digest_of(b"held")
NAME = "routers.test"


class Dns:
    """Answers for `NAME` with `addresses`; with none, the name is unknown."""

    def __init__(self, look_up: Callable[..., Any], *addresses: str) -> None:
        self._look_up, self.addresses = look_up, list(addresses)

    def __call__(self, host: str, port: int, *args: Any, **more: Any) -> Any:
        if host != NAME:
            return self._look_up(host, port, *args, **more)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in self.addresses]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Dns:
    dns = Dns(socket.getaddrinfo, "127.0.0.1")
    monkeypatch.setattr(socket, "getaddrinfo", dns)
    return dns


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a router that knows one node."""
    known, port = KnownContent(), free_port()
    known.holds("a", "127.0.0.1:1000", HELD)
    async with serve_resolver(known, port):
        yield port


@asynccontextmanager
async def resolving(port: int) -> AsyncIterator[GrpcResolver]:
    async with open_resolver(
        f"dns:///{NAME}:{port}", node="n", zone="", max_peers=3, metrics=RegistryMetrics()
    ) as resolver:
        yield resolver


async def is_found(resolver: GrpcResolver) -> bool:
    try:
        (found,) = await resolver.resolve([HELD], timeout_s=10)
    except ResolverUnavailable:
        return False
    return bool(found.peers)


async def test_each_address_of_the_name_is_a_replica_and_a_dead_one_costs_no_answer(
    dns: Dns, port: int
) -> None:
    dns.addresses = ["127.0.0.9", "127.0.0.1", "127.0.0.8"]  # nobody listens at the others
    async with resolving(port) as resolver:
        assert all([await is_found(resolver) for _ in range(20)])
        assert len(resolver.channels) == 3


async def test_a_name_that_is_unknown_at_first_is_looked_up_again(dns: Dns, port: int) -> None:
    dns.addresses = []
    async with resolving(port) as resolver:
        with pytest.raises(ResolverUnavailable, match="no address"):
            await resolver.resolve([HELD], timeout_s=10)
        dns.addresses = ["127.0.0.1"]
        await eventually(lambda: is_found(resolver), 20, "the name is not looked up again")


async def test_a_router_with_a_new_address_is_found(dns: Dns, port: int) -> None:
    dns.addresses = ["127.0.0.9"]
    async with resolving(port) as resolver:
        assert not await is_found(resolver)
        dns.addresses = ["127.0.0.1"]
        await eventually(lambda: is_found(resolver), 20, "the new address is not used")
        assert len(resolver.channels) == 1
