"""The contract of every content store, in memory and real."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heliograph_indexer.domain.content import Holdings, StoreContent, StoreEvent
from heliograph_indexer.errors import StoreUnavailable
from heliograph_indexer.ports import ContentStore
from heliograph_shared.digest import digest_of
from tests.contract.content_store_support import KINDS, Hand, hand
from tests.support.machines import absent
from tests.support.waiting import eventually

PATIENCE_S = 20.0
TAG = "reg.test/team/app:v1"
OTHER_TAG = "reg.test/team/app:v2"


REAL = {kind for kind in KINDS if kind.startswith("containerd")}


@pytest.fixture(
    params=[pytest.param(kind, marks=pytest.mark.processes) if kind in REAL else kind for kind in KINDS]
)
async def outside(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hand]:
    kind: str = request.param
    if kind in REAL and absent():
        pytest.skip(absent())
    async with hand(kind, tmp_path) as changing:
        yield changing


class Follower:
    """Applies the events of a watch to its first listing."""

    def __init__(self, content: StoreContent) -> None:
        self.holdings = Holdings(dict(content.blobs), dict(content.tags))
        self.events: list[StoreEvent] = []
        self.ended: StoreUnavailable | None = None

    async def becomes(self, check: Callable[[Holdings], bool], within: float = PATIENCE_S) -> None:
        await eventually(
            lambda: check(self.holdings), within, lambda: f"only {self.events} were reported, {self.ended}"
        )


@asynccontextmanager
async def following(store: ContentStore) -> AsyncIterator[Follower]:
    async with store.watch() as watch:
        follower = Follower(watch.content)

        async def follow() -> None:
            try:
                async for event in watch.changes():
                    follower.events.append(event)
                    follower.holdings.apply(event)
            except StoreUnavailable as error:
                follower.ended = error

        async with asyncio.TaskGroup() as group:
            task = group.create_task(follow())
            yield follower
            task.cancel()


async def test_a_watch_begins_with_what_is_there(outside: Hand) -> None:
    digest = await outside.add_blob(b"12345")
    await outside.tag(TAG, digest)
    async with outside.store.watch() as watch:
        assert watch.content.blobs == {digest: 5}
        assert watch.content.tags[TAG].digest == digest


async def test_nothing_that_happens_after_a_watch_began_is_missed(outside: Hand) -> None:
    async with outside.store.watch() as watch:
        digest = await outside.add_blob(b"before the first change was asked for")
        follower = Follower(watch.content)
        async for event in watch.changes():
            follower.holdings.apply(event)
            if digest in follower.holdings.blobs:
                return


async def test_a_new_blob_is_reported_within_a_second_of_its_commit(outside: Hand) -> None:
    wanted = {}
    async with following(outside.store) as follower:
        for number in range(5):
            body = b"." * (number + 1)
            wanted[await outside.add_blob(body)] = len(body)
            await follower.becomes(lambda held: held.blobs == wanted)


async def test_a_removed_blob_is_reported(outside: Hand) -> None:
    kept, digest = await outside.add_blob(b"kept"), await outside.add_blob(b"removed")
    async with following(outside.store) as follower:
        await outside.remove_blob(digest)
        await follower.becomes(lambda held: set(held.blobs) == {kept})


async def test_tags_are_reported_when_set_moved_and_removed(outside: Hand) -> None:
    first, second = await outside.add_blob(b"first"), await outside.add_blob(b"second")
    async with following(outside.store) as follower:
        await outside.tag(TAG, first)
        await follower.becomes(lambda held: held.tags[TAG].digest == first if TAG in held.tags else False)
        tagged_at_ms = follower.holdings.tags[TAG].tagged_at_ms
        await outside.tag(TAG, second)
        await follower.becomes(lambda held: held.tags[TAG].digest == second)
        assert follower.holdings.tags[TAG].tagged_at_ms >= tagged_at_ms
        await outside.untag(TAG)
        await follower.becomes(lambda held: held.tags == {})


async def test_a_tag_keeps_its_time_while_it_points_at_the_same_digest(outside: Hand) -> None:
    digest, other = await outside.add_blob(b"tagged"), await outside.add_blob(b"other")
    await outside.tag(TAG, digest)
    async with following(outside.store) as follower:
        since_ms = follower.holdings.tags[TAG].tagged_at_ms
        await asyncio.sleep(0.05)
        await outside.tag(TAG, digest)
        await outside.tag(OTHER_TAG, digest)
        await follower.becomes(lambda held: OTHER_TAG in held.tags)
        assert [event for event in follower.events if getattr(event, "reference", "") == TAG] == []
    async with following(outside.store) as follower:  # as after a restart of the indexer
        assert follower.holdings.tags[TAG].tagged_at_ms == since_ms
        await asyncio.sleep(0.05)
        await outside.tag(TAG, other)
        await follower.becomes(lambda held: held.tags[TAG].digest == other)
        moved_ms = follower.holdings.tags[TAG].tagged_at_ms
        assert moved_ms > since_ms
        await outside.tag(TAG, digest)
        await follower.becomes(lambda held: held.tags[TAG].digest == digest)
        assert follower.holdings.tags[TAG].tagged_at_ms >= moved_ms


async def test_a_blob_is_reported_once(outside: Hand) -> None:
    async with following(outside.store) as follower:
        digest = await outside.add_blob(b"once")
        await outside.tag(TAG, digest)
        await follower.becomes(lambda held: TAG in held.tags and digest in held.blobs)
        await asyncio.sleep(1.5)  # by then every listing that follows a change has been made
        reported = [event for event in follower.events if getattr(event, "digest", None) == digest]
        assert len(reported) == 2


async def test_only_names_that_are_tags_are_reported(outside: Hand) -> None:
    digest = await outside.add_blob(b"content")
    for name in (digest, f"reg.test/team/app@{digest}", "app", "library/app:v1"):
        await outside.tag(name, digest)
    async with following(outside.store) as follower:
        await outside.tag(TAG, digest)
        await follower.becomes(lambda held: set(held.tags) == {TAG})


async def test_a_store_that_goes_says_so_and_can_be_watched_again(outside: Hand) -> None:
    kept, removed = await outside.add_blob(b"kept"), await outside.add_blob(b"removed meanwhile")
    async with following(outside.store) as follower:
        await outside.take_away()
        await eventually(lambda: follower.ended, 20, "the watch goes on")
        assert set(follower.holdings.blobs) == {kept, removed}

    with pytest.raises(StoreUnavailable):
        async with outside.store.watch():
            pass

    await outside.give_back()
    await outside.remove_blob(removed)
    late = await outside.add_blob(b"late")
    async with following(outside.store) as follower:
        await follower.becomes(lambda held: set(held.blobs) == {kept, late})


async def test_nothing_is_downloading_into_a_store_at_rest(outside: Hand) -> None:
    async with outside.store.watch():
        assert list(await outside.store.downloading()) == []


async def test_many_blobs_at_once_are_all_reported(outside: Hand) -> None:
    async with following(outside.store) as follower:
        bodies = [f"many {number}".encode() for number in range(60)]
        for start in range(0, len(bodies), 6):
            await asyncio.gather(*map(outside.add_blob, bodies[start : start + 6]))
        await follower.becomes(lambda held: set(held.blobs) == set(map(digest_of, bodies)))
