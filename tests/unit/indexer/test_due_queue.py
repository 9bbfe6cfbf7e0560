"""Each thing once, at the earliest time anyone wanted it, and never more things than the limit."""

import asyncio
import time

import pytest

from heliograph_indexer.due_queue import DueQueue


async def test_things_come_in_the_order_of_their_times() -> None:
    queue = DueQueue[str](overflow="everything")
    queue.add("later", 0.05)
    queue.add("now")
    assert [await queue.next(), await queue.next()] == ["now", "later"]


async def test_asking_again_brings_a_thing_forward_and_never_back() -> None:
    queue = DueQueue[str](overflow="everything")
    queue.add("thing", 60)
    queue.add("thing", 0.01)
    queue.add("thing", 60)
    async with asyncio.timeout(5):
        assert await queue.next() == "thing"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await queue.next()


async def test_a_waiting_reader_gets_what_is_added_meanwhile() -> None:
    queue = DueQueue[str](overflow="everything")
    queue.add("in an hour", 3600)
    waiting = asyncio.create_task(queue.next())
    await asyncio.sleep(0)
    queue.add("now")
    async with asyncio.timeout(5):
        assert await waiting == "now"


async def test_nothing_comes_before_its_time() -> None:
    queue = DueQueue[str](overflow="everything")
    began = time.monotonic()
    queue.add("thing", 0.05)
    await queue.next()
    assert time.monotonic() - began >= 0.05


async def test_too_many_things_become_the_one_that_stands_for_all() -> None:
    queue = DueQueue[int](overflow=-1, limit=3)
    for thing in range(4):
        queue.add(thing, 60)
    async with asyncio.timeout(5):
        assert await queue.next() == -1
    queue.add(7)
    assert await queue.next() == 7


async def test_a_failure_reaches_the_reader() -> None:
    queue = DueQueue[str](overflow="everything")
    waiting = asyncio.create_task(queue.next())
    await asyncio.sleep(0)
    queue.fail(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await waiting
