"""A race of staggered attempts."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from heliograph_registry.mirror.hedging import race
from tests.support.waiting import eventually


class Failed(Exception):
    pass


class Attempts:
    """Attempts with a scripted outcome, and a record of what happened to them."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.discarded: list[str] = []

    def answers(self, name: str, after: float = 0) -> Callable[[], Awaitable[str]]:
        return lambda: self._run(name, after, None)

    def fails(
        self, name: str, after: float = 0, error: Exception | None = None
    ) -> Callable[[], Awaitable[str]]:
        return lambda: self._run(name, after, error or Failed(name))

    async def _run(self, name: str, after: float, error: Exception | None) -> str:
        self.started.append(name)
        try:
            await asyncio.sleep(after)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        if error:
            raise error
        return name

    async def race(self, *attempts: Callable[[], Awaitable[str]], stagger: float = 0.02) -> str:
        return await race(attempts, stagger_s=stagger, discard=self.discarded.append, failures=(Failed,))


async def test_a_quick_first_attempt_is_the_only_one() -> None:
    attempts = Attempts()
    assert await attempts.race(attempts.answers("a"), attempts.answers("b"), stagger=60) == "a"
    assert attempts.started == ["a"]


async def test_a_failure_starts_the_next_attempt_at_once() -> None:
    attempts = Attempts()
    assert (
        await attempts.race(attempts.fails("a"), attempts.fails("b"), attempts.answers("c"), stagger=60)
        == "c"
    )
    assert attempts.started == ["a", "b", "c"]


async def test_a_slow_attempt_is_overtaken_and_cancelled() -> None:
    attempts = Attempts()
    assert await attempts.race(attempts.answers("a", after=60), attempts.answers("b")) == "b"
    await asyncio.sleep(0)
    assert attempts.cancelled == ["a"]


async def test_a_slow_attempt_still_wins_if_the_later_ones_fail() -> None:
    attempts = Attempts()
    assert (
        await attempts.race(attempts.answers("a", after=0.1), attempts.fails("b"), attempts.fails("c")) == "a"
    )


async def test_the_last_failure_is_raised() -> None:
    attempts = Attempts()
    with pytest.raises(Failed, match="b"):
        await attempts.race(attempts.fails("a"), attempts.fails("b"))


async def test_an_unexpected_error_ends_the_race() -> None:
    attempts = Attempts()
    with pytest.raises(ZeroDivisionError):
        await attempts.race(
            attempts.fails("a", error=ZeroDivisionError()), attempts.answers("b", after=60), stagger=60
        )


async def test_a_cancelled_race_cancels_its_attempts() -> None:
    attempts = Attempts()
    racing = asyncio.ensure_future(
        attempts.race(attempts.answers("a", after=60), attempts.answers("b", after=60))
    )
    await eventually(lambda: len(attempts.started) == 2)
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    await asyncio.sleep(0)
    assert sorted(attempts.cancelled) == ["a", "b"]


async def test_no_result_is_lost_when_several_come_at_once() -> None:
    attempts = Attempts()
    gate = asyncio.Event()

    def waits(name: str) -> Callable[[], Awaitable[str]]:
        async def attempt() -> str:
            attempts.started.append(name)
            await gate.wait()
            return name

        return attempt

    racing = asyncio.ensure_future(attempts.race(waits("a"), waits("b"), stagger=0.001))
    await eventually(lambda: len(attempts.started) == 2)
    gate.set()
    winner = await racing
    await asyncio.sleep(0)
    assert {winner, *attempts.discarded} == {"a", "b"}
