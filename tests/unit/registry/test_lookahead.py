"""The lookahead resolves an image's children before they are requested."""

import asyncio
from collections.abc import Sequence

from heliograph_registry.mirror.domain.manifest import Manifest
from heliograph_registry.mirror.domain.peer import Outcome, Peer, Resolution
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.errors import NotServed
from heliograph_registry.mirror.lookahead import Lookahead, open_lookahead
from heliograph_shared.digest import Digest, digest_of

CHILDREN = tuple(digest_of(name.encode()) for name in ("config", "layer-1", "layer-2", "layer-3"))
LOCAL, LAYER_1, LAYER_2, MISSING = CHILDREN
MANIFEST = Manifest(digest_of(b"manifest"), "application/json", b"{}", CHILDREN)
PEER = Peer("a", ("a:5000",))


class Router:
    """Knows who holds what; answers when the test lets it."""

    def __init__(self) -> None:
        self.calls: list[list[Digest]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.down = False

    async def resolve(self, digests: Sequence[Digest]) -> list[Resolution]:
        self.calls.append(list(digests))
        await self.may_answer.wait()
        if self.down:
            raise NotServed(Reason.RESOLVER_UNAVAILABLE)
        return [
            Resolution(Outcome.NOT_FOUND) if digest == MISSING else Resolution(Outcome.FOUND, digest, (PEER,))
            for digest in digests
        ]


def lacks(digest: Digest) -> bool:
    return digest != LOCAL


async def test_one_call_asks_for_all_that_the_node_lacks() -> None:
    router = Router()
    async with open_lookahead(router.resolve, lacks) as lookahead:
        lookahead.resolve_children(MANIFEST)
        found = await lookahead.take_resolution(LAYER_1)
        assert found is not None
        assert found.peers == (PEER,)
    assert router.calls == [[LAYER_1, LAYER_2, MISSING]]


async def test_a_resolution_is_used_once() -> None:
    async with open_lookahead(Router().resolve, lacks) as lookahead:
        lookahead.resolve_children(MANIFEST)
        assert await lookahead.take_resolution(LAYER_1) is not None
        assert await lookahead.take_resolution(LAYER_1) is None


async def test_a_resolution_is_too_old_after_two_seconds() -> None:
    now = 1000.0
    async with open_lookahead(Router().resolve, lacks, lambda: now) as lookahead:
        lookahead.resolve_children(MANIFEST)
        assert await lookahead.take_resolution(LAYER_1) is not None
        now += 2.1
        assert await lookahead.take_resolution(LAYER_2) is None


async def test_a_miss_gives_no_resolution() -> None:
    async with open_lookahead(Router().resolve, lacks) as lookahead:
        lookahead.resolve_children(MANIFEST)
        assert await lookahead.take_resolution(MISSING) is None
        assert await lookahead.take_resolution(LOCAL) is None


async def test_a_request_waits_for_the_running_call() -> None:
    router = Router()
    router.may_answer.clear()
    async with open_lookahead(router.resolve, lacks) as lookahead:
        lookahead.resolve_children(MANIFEST)
        taking = asyncio.create_task(lookahead.take_resolution(LAYER_1))
        done, _ = await asyncio.wait([taking], timeout=0.05)
        assert not done
        router.may_answer.set()
        assert await taking is not None


async def test_a_router_that_is_down_gives_no_resolutions() -> None:
    router = Router()
    router.down = True
    async with open_lookahead(router.resolve, lacks) as lookahead:
        lookahead.resolve_children(MANIFEST)
        assert await lookahead.take_resolution(LAYER_1) is None


async def test_the_same_manifest_causes_no_second_call_within_two_seconds() -> None:
    router = Router()
    async with open_lookahead(router.resolve, lacks) as lookahead:
        for _ in range(3):
            lookahead.resolve_children(MANIFEST)
        await lookahead.take_resolution(LAYER_1)
    assert len(router.calls) == 1


async def test_calls_are_bounded_and_end_with_the_lookahead() -> None:
    router = Router()
    router.may_answer.clear()

    def flood(lookahead: Lookahead) -> None:
        for number in range(100):
            lookahead.resolve_children(
                Manifest(digest_of(b"%d" % number), "application/json", b"{}", CHILDREN)
            )

    before = asyncio.all_tasks()
    async with open_lookahead(router.resolve, lacks) as lookahead:
        flood(lookahead)
        assert len(asyncio.all_tasks() - before) <= 32
    assert asyncio.all_tasks() == before
