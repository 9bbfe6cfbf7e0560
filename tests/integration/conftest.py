"""Registries for the tests of what they answer."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.registry_support import Cluster
from tests.support.resolver import serve_resolver


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        made = Cluster(tmp_path, stack)
        await stack.enter_async_context(serve_resolver(made.known, made.router_port))
        yield made
        made.stop()
