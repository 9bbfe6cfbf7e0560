"""Broken ranges of one blob end in order of their offsets."""

import asyncio

import pytest

from heliograph_registry.mirror.ordered_ranges import OrderedRanges
from heliograph_shared.digest import digest_of

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

DIGEST, OTHER = digest_of(b"one"), digest_of(b"other")


async def test_the_earliest_range_ends_first() -> None:
    ranges, ended = OrderedRanges(), list[int]()

    async def breaks(first: int) -> None:
        await ranges.broke(DIGEST, first)
        ended.append(first)
        ranges.leave(DIGEST, first)

    for first in (30, 10, 20):
        ranges.enter(DIGEST, first)
    async with asyncio.timeout(5):
        await asyncio.gather(*(breaks(first) for first in (30, 10, 20)))
    assert ended[0] == 10
    assert sorted(ended) == [10, 20, 30]


async def test_a_broken_range_waits_for_an_earlier_one_that_is_still_sent() -> None:
    ranges = OrderedRanges()
    ranges.enter(DIGEST, 0)
    ranges.enter(DIGEST, 10)
    waiting = asyncio.create_task(ranges.broke(DIGEST, 10))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    ranges.leave(DIGEST, 0)
    await waiting


async def test_the_earliest_range_of_a_blob_ends_at_once_whatever_other_blobs_do() -> None:
    ranges = OrderedRanges()
    ranges.enter(OTHER, 0)
    ranges.enter(DIGEST, 10)
    ranges.enter(DIGEST, 20)
    async with asyncio.timeout(0.2):
        await ranges.broke(DIGEST, 10)


async def test_a_range_that_breaks_just_after_an_earlier_one_waits_until_that_can_be_read() -> None:
    ranges = OrderedRanges()
    ranges.enter(DIGEST, 0)
    ranges.enter(DIGEST, 10)
    await ranges.broke(DIGEST, 0)
    ranges.leave(DIGEST, 0)
    waiting = asyncio.create_task(ranges.broke(DIGEST, 10))
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    await waiting
