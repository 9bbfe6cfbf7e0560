"""Attempts that race."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from heliograph_registry.mirror.hedging import race
from tests.support.waiting import eventually


class Failed(Exception):
    pass


class Track:
    """Attempts with a scripted outcome, and what became of them."""

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
    track = Track()
    assert await track.race(track.answers("a"), track.answers("b"), stagger=60) == "a"
    assert track.started == ["a"]


async def test_a_failure_starts_the_next_at_once() -> None:
    track = Track()
    assert await track.race(track.fails("a"), track.fails("b"), track.answers("c"), stagger=60) == "c"
    assert track.started == ["a", "b", "c"]


async def test_a_slow_attempt_is_overtaken_and_cancelled() -> None:
    track = Track()
    assert await track.race(track.answers("a", after=60), track.answers("b")) == "b"
    await asyncio.sleep(0)
    assert track.cancelled == ["a"]


async def test_the_slow_one_still_wins_when_the_later_fail() -> None:
    track = Track()
    assert await track.race(track.answers("a", after=0.1), track.fails("b"), track.fails("c")) == "a"


async def test_the_last_failure_is_told() -> None:
    track = Track()
    with pytest.raises(Failed, match="b"):
        await track.race(track.fails("a"), track.fails("b"))


async def test_an_unexpected_error_ends_the_race() -> None:
    track = Track()
    with pytest.raises(ZeroDivisionError):
        await track.race(
            track.fails("a", error=ZeroDivisionError()), track.answers("b", after=60), stagger=60
        )


async def test_a_cancelled_race_cancels_its_attempts() -> None:
    track = Track()
    racing = asyncio.ensure_future(track.race(track.answers("a", after=60), track.answers("b", after=60)))
    await eventually(lambda: len(track.started) == 2)
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await racing
    await asyncio.sleep(0)
    assert sorted(track.cancelled) == ["a", "b"]


async def test_no_result_is_lost_when_several_come_at_once() -> None:
    track = Track()
    gate = asyncio.Event()

    def waits(name: str) -> Callable[[], Awaitable[str]]:
        async def attempt() -> str:
            track.started.append(name)
            await gate.wait()
            return name

        return attempt

    racing = asyncio.ensure_future(track.race(waits("a"), waits("b"), stagger=0.001))
    await eventually(lambda: len(track.started) == 2)
    gate.set()
    winner = await racing
    await asyncio.sleep(0)
    assert {winner, *track.discarded} == {"a", "b"}
