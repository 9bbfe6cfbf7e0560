"""The time limit of every request for its first byte."""

import asyncio
from types import TracebackType

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.errors import NotServed

LONGEST_S = 28.0
"""No request stays without its first byte for longer, whatever it waits for.

containerd 2.3 and newer give up on a mirror that has sent no response header for 30 s, and ask the next host.
"""

PATIENT_S = 10.0
"""Time limit for the first byte where a 404 would fail the pull, because the client asks no other host."""


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
