"""Withholds from the bus what this node's registry cannot serve.

containerd lists a blob even if its file is gone or cannot be read. The registry finds out when a peer asks
for it, but must not write to the bus. So the indexer asks the registry, every second (ADR 30).
"""

import asyncio
from collections.abc import Callable

from heliograph_indexer.ports import RegistryContent
from heliograph_shared.digest import Digest

_POLL_S = 1.0

OnUnservable = Callable[[frozenset[Digest]], None]


async def follow_unservable(registry: RegistryContent, report: OnUnservable) -> None:
    """Report what the registry cannot serve, after every change. Without an answer nothing changes."""
    reported: frozenset[Digest] = frozenset()
    while True:
        unservable = await registry.unservable()
        if unservable is not None and unservable != reported:
            report(unservable)
            reported = unservable
        await asyncio.sleep(_POLL_S)
