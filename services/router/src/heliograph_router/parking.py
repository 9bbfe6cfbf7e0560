"""Calls that wait for their node's turn: at most 4,096."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from heliograph_router.domain.waiting import HolderIndex, Turn, Waiting
from heliograph_router.errors import WaitAbandoned
from heliograph_shared.digest import Digest

_MAX_PARKED = 4_096
_STOPPING = "this router is shutting down"

OnParked = Callable[[], Awaitable[None]]


class Parking:
    """Holds waiting calls; `waiting` decides when it is a node's turn, for all its calls for that digest."""

    def __init__(self, holders: HolderIndex, *, leaders: int, lease_s: float) -> None:
        self.waiting = Waiting(holders, leaders=leaders, lease_s=lease_s, on_turn=self._on_turn)
        self._parked: dict[tuple[Digest, str], set[asyncio.Future[Turn]]] = {}
        self._count = 0
        self._stopped = False

    def __len__(self) -> int:
        return self._count

    async def turn(self, digest: Digest, node: str, wait_s: float, on_parked: OnParked) -> Turn:
        """`PEERS` or `UPSTREAM` as soon as it is the node's turn, `WAIT` if that is not within `wait_s`.

        `on_parked` is awaited when the call has to wait. Beyond 4,096 waiting calls the answer is `WAIT` at
        once. Raises `WaitAbandoned`.
        """
        turn = self.waiting.ask(digest, node, time.monotonic())
        if turn is not Turn.WAIT:
            return turn
        call: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        key = (digest, node)
        self._parked.setdefault(key, set()).add(call)
        self._count += 1
        try:
            if self._count > _MAX_PARKED:
                return Turn.WAIT
            if self._stopped:
                raise WaitAbandoned(_STOPPING)
            async with asyncio.timeout(wait_s):
                await on_parked()
                return await call
        except TimeoutError:
            return Turn.WAIT
        finally:
            self._count -= 1
            calls = self._parked[key]
            calls.discard(call)
            if not calls:
                del self._parked[key]
                self.waiting.leave(digest, node)

    def stop(self) -> None:
        """End all waits, also later ones: the process stops."""
        self._stopped = True
        self.abandon(_STOPPING)

    def abandon(self, reason: str) -> None:
        """End all waits with `WaitAbandoned`: this router does not learn when their turn comes."""
        for calls in self._parked.values():
            for call in calls:
                if not call.done():
                    call.set_exception(WaitAbandoned(reason))

    def _on_turn(self, digest: Digest, node: str, turn: Turn) -> None:
        for call in self._parked.get((digest, node), ()):
            if not call.done():
                call.set_result(turn)
