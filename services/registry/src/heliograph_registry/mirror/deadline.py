"""The bound that every request has until its first byte."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.errors import NotServed


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Raises `NotServed` when the body takes longer; it is given the bound, to move it."""
    try:
        async with asyncio.timeout(seconds) as bound:
            yield bound
    except TimeoutError as error:
        raise NotServed(Reason.TIMEOUT) from error
