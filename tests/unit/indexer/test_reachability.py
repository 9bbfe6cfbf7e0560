"""Addresses are advertised while the registry is ready, and always lead to this node."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from heliograph_indexer import reachability
from heliograph_indexer.adapters.kernel_route import KernelRoute
from heliograph_indexer.ports import RegistryReadiness
from heliograph_indexer.reachability import follow_reachability
from tests.support.waiting import eventually


class Answers:
    """A registry and a node address with answers set by the test."""

    def __init__(self, host: str | None = "10.0.0.7") -> None:
        self.host, self.is_ready = host, True

    async def own_host(self) -> str | None:
        return self.host

    async def ready(self) -> bool:
        return self.is_ready


async def following(
    advertise: tuple[str, ...],
    route: Answers,
    registry: RegistryReadiness | None,
    steps: Callable[[list[tuple[str, ...]]], object],
) -> list[tuple[str, ...]]:
    """What is reported until `steps` says that it has seen enough."""
    reports: list[tuple[str, ...]] = []
    task = asyncio.create_task(
        follow_reachability(advertise, node_address=route, registry=registry, report=reports.append)
    )
    try:
        await eventually(lambda: steps(reports))
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return reports


async def test_the_operators_addresses_hold_without_a_registry_to_ask() -> None:
    assert await following(("a:1", "b:2"), Answers(None), None, bool) == [("a:1", "b:2")]


@pytest.mark.parametrize(("host", "address"), [("10.0.0.7", "10.0.0.7:5000"), ("fd00::7", "[fd00::7]:5000")])
async def test_else_it_is_port_5000_of_the_own_address(host: str, address: str) -> None:
    assert await following((), Answers(host), None, bool) == [(address,)]


async def test_an_address_that_is_not_known_yet_is_looked_for_again() -> None:
    route = Answers(None)

    def steps(reports: list[tuple[str, ...]]) -> bool:
        route.host = "10.0.0.7"
        return bool(reports)

    assert await following((), route, None, steps) == [("10.0.0.7:5000",)]


async def test_addresses_go_and_come_with_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability, "_POLL_S", 0.01)
    registry = Answers()
    registry.is_ready = False

    def steps(reports: list[tuple[str, ...]]) -> bool:
        registry.is_ready = len(reports) % 2 == 1
        return len(reports) == 4

    reports = await following(("a:1",), Answers(), registry, steps)
    assert reports == [(), ("a:1",), (), ("a:1",)]


async def test_only_a_silence_that_lasts_takes_them_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachability, "_POLL_S", 0.0)
    said = iter([True, None, None, True, None, None, None, None, True])

    class Registry:
        async def ready(self) -> bool | None:
            return next(said, True)

    reports = await following(("a:1",), Answers(), Registry(), lambda reports: len(reports) == 3)
    assert reports == [("a:1",), (), ("a:1",)]
    assert list(said) == [], "the last word was waited for"


async def test_the_own_address_is_that_of_the_route() -> None:
    assert await KernelRoute(["nats://user:secret@127.0.0.1:4222"]).own_host() == "127.0.0.1"


async def test_a_server_that_cannot_be_resolved_leaves_it_to_the_next() -> None:
    assert await KernelRoute(["nats://nowhere.invalid:4222", "127.0.0.1"]).own_host() == "127.0.0.1"
    assert await KernelRoute(["nats://nowhere.invalid:4222"]).own_host() is None
