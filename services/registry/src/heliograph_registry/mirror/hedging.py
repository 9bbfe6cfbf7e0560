"""Staggered attempts: the next starts when the one before is slow or failed (after RFC 8305 section 5)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def race(
    attempts: Sequence[Callable[[], Awaitable[T]]],
    *,
    stagger_s: float,
    discard: Callable[[T], None],
    failures: tuple[type[Exception], ...],
) -> T:
    """The first result. An attempt starts when the one before failed, or had no result within `stagger_s`.

    Attempts that are still running are cancelled, and late results go to `discard`. If all attempts fail with
    `failures`, the last error is raised; any other error ends the race at once.
    """
    running: set[asyncio.Task[T]] = set()
    waiting = list(reversed(attempts))
    last_failure: Exception | None = None
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(_call(waiting.pop())))
            done, running = await asyncio.wait(
                running, timeout=stagger_s if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            results = [task.result() for task in done if task.exception() is None]
            for late in results[1:]:
                discard(late)
            if results:
                return results[0]
            for error in filter(None, (task.exception() for task in done)):
                if not isinstance(error, failures):
                    raise error
                last_failure = error
    finally:
        for task in running:
            task.add_done_callback(lambda late: _drop(late, discard))
            task.cancel()
    if last_failure is None:
        raise ValueError("a race needs attempts")
    raise last_failure


async def _call(attempt: Callable[[], Awaitable[T]]) -> T:
    return await attempt()


def _drop(task: asyncio.Task[T], discard: Callable[[T], None]) -> None:
    if not task.cancelled() and task.exception() is None:
        discard(task.result())
