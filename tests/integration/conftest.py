"""Registries for the tests of what they answer, and the event loop of the services."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import uvloop

from tests.integration.registry_support import Cluster
from tests.support.resolver import serve_resolver


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """`pytest.mark.asyncio(loop_factories=["uvloop"])` asks for the loop that services run on."""
    marked = item.get_closest_marker("asyncio")
    if marked is not None and marked.kwargs.get("loop_factories"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        made = Cluster(tmp_path, stack)
        await stack.enter_async_context(serve_resolver(made.known, made.router_port))
        yield made
        made.stop()
