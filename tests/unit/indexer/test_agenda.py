"""Each thing once, at the earliest time anyone wanted it, and never more of them than fit."""

import asyncio
import time

import pytest

from heliograph_indexer.agenda import Agenda


async def test_things_come_in_the_order_of_their_times() -> None:
    agenda = Agenda[str](instead="everything")
    agenda.add("later", 0.05)
    agenda.add("now")
    assert [await agenda.next(), await agenda.next()] == ["now", "later"]


async def test_asking_again_brings_a_thing_forward_and_never_back() -> None:
    agenda = Agenda[str](instead="everything")
    agenda.add("thing", 60)
    agenda.add("thing", 0.01)
    agenda.add("thing", 60)
    async with asyncio.timeout(5):
        assert await agenda.next() == "thing"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await agenda.next()


async def test_a_waiting_reader_gets_what_is_added_meanwhile() -> None:
    agenda = Agenda[str](instead="everything")
    agenda.add("in an hour", 3600)
    waiting = asyncio.create_task(agenda.next())
    await asyncio.sleep(0)
    agenda.add("now")
    async with asyncio.timeout(5):
        assert await waiting == "now"


async def test_nothing_comes_before_its_time() -> None:
    agenda = Agenda[str](instead="everything")
    began = time.monotonic()
    agenda.add("thing", 0.05)
    await agenda.next()
    assert time.monotonic() - began >= 0.05


async def test_too_many_things_become_the_one_that_stands_for_all() -> None:
    agenda = Agenda[int](instead=-1, limit=3)
    for thing in range(4):
        agenda.add(thing, 60)
    async with asyncio.timeout(5):
        assert await agenda.next() == -1
    agenda.add(7)
    assert await agenda.next() == 7


async def test_a_failure_reaches_the_reader() -> None:
    agenda = Agenda[str](instead="everything")
    waiting = asyncio.create_task(agenda.next())
    await asyncio.sleep(0)
    agenda.fail(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        await waiting
