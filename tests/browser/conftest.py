"""One system and one browser for all tests here, because starting them takes longer than a test."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.chromium import CHROMIUM, chromium
from tests.browser.pulled_system import Pulled, pulled_system


@pytest.fixture(scope="session", autouse=True)
def chromium_is_there() -> None:
    """Fail instead of skipping when there is no browser."""
    assert CHROMIUM.exists(), "no Chromium: tests/support/install-browser.sh installs it"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pulled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pulled]:
    async with pulled_system(tmp_path_factory.mktemp("system")) as pulled:
        yield pulled
