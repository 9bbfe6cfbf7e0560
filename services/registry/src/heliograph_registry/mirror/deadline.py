"""The time limit of every request for its first byte."""

import asyncio
from types import TracebackType

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.errors import NotServed


class Deadline:
    """`async with Deadline(seconds) as timeout` raises `NotServed` if the body takes longer.

    The body may reschedule `timeout`.
    """

    def __init__(self, seconds: float) -> None:
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> asyncio.Timeout:
        return await self._timeout.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError as late:
            raise NotServed(Reason.TIMEOUT) from late
