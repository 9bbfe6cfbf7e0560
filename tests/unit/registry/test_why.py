"""What is looked up about an image: its parts, who has them, and who would be asked."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from heliograph_registry.debug.domain.explanation import AnswerCode, Explanation, MirrorStatus, Step, StepCode
from heliograph_registry.debug.why import Why
from heliograph_registry.mirror.errors import PeerFailed
from heliograph_shared.digest import digest_of
from heliograph_shared.filters import ImageFilter
from heliograph_shared.platforms import Matcher, parse_platform
from heliograph_shared.reference import parse_reference
from tests.support.fakes.cluster import HERE, FakeCluster, FakeMirror

pytestmark = pytest.mark.asyncio(loop_factories=["virtual time"])

CONFIG, LAYER = b"config", b"layer"
TAG = "reg.test/app:1"
STATUS = MirrorStatus(
    router_error=None,
    breaker_open_s=0.0,
    remembered=(),
    peer_dns=False,
    attempts=2,
    wait_ms=0,
    first_byte_ms=300,
    transfers=0,
    max_transfers=128,
)


def image(*layers: bytes) -> bytes:
    entries = [{"digest": digest_of(layer), "size": len(layer)} for layer in layers]
    config = {"digest": digest_of(CONFIG), "size": len(CONFIG)}
    return json.dumps({"schemaVersion": 2, "config": config, "layers": entries}).encode()


def index(**images: bytes) -> bytes:
    """Of one image for each architecture."""
    entries = [
        {
            "digest": digest_of(body),
            "size": len(body),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for architecture, body in images.items()
    ]
    return json.dumps({"schemaVersion": 2, "manifests": entries}).encode()


IMAGE = image(LAYER)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@asynccontextmanager
async def opened(
    cluster: FakeCluster, *, images: ImageFilter | None = None, attempts: int = 2
) -> AsyncIterator[tuple[Why, FakeMirror]]:
    async with cluster.mirror(attempts=attempts, images=images) as here:
        why = Why(
            node=HERE,
            platform=Matcher(parse_platform("linux/amd64")),
            attempts=attempts,
            images=images or ImageFilter(),
            content=cluster.content,
            facts=cluster.facts,
            mirror=here.mirror,
            peering=here.peering,
            router_queries=cluster.router_queries,
            status=lambda: STATUS,
        )
        yield why, here


async def explained(
    cluster: FakeCluster, reference: str = TAG, *, images: ImageFilter | None = None
) -> Explanation:
    async with opened(cluster, images=images) as (why, _):
        return await why.explain(parse_reference(reference))


def step(explanation: Explanation, code: StepCode) -> Step:
    return next(step for step in explanation.steps if step.code is code)


def codes(explanation: Explanation) -> set[StepCode]:
    return {step.code for step in explanation.steps}


def kinds(explanation: Explanation) -> list[str]:
    return [each.part.kind.value for each in explanation.parts]


def hold(cluster: FakeCluster, *nodes: str) -> None:
    """These nodes have pulled the image."""
    for name in nodes:
        registry = cluster.node(name, CONFIG, LAYER)
        cluster.announce(registry, IMAGE, TAG)


async def test_an_image_that_a_peer_has_is_served_by_it(cluster: FakeCluster) -> None:
    hold(cluster, "a")
    explanation = await explained(cluster)
    assert explanation.code is AnswerCode.CLUSTER
    assert kinds(explanation) == ["manifest", "config", "layer"]
    for part in explanation.parts:
        assert (part.here, part.known, part.holders) == (False, True, ("a",))
        assert [candidate.node for candidate in part.candidates] == ["a"]
    assert codes(explanation) >= {StepCode.ADMITTED, StepCode.TAG_ELSEWHERE, StepCode.MANIFEST_READ}


async def test_no_blob_is_moved(cluster: FakeCluster) -> None:
    hold(cluster, "a")
    async with opened(cluster) as (why, _):
        await why.explain(parse_reference(TAG))
    assert cluster.fetched == {"a": len(IMAGE)}


async def test_own_content_is_told_apart(cluster: FakeCluster) -> None:
    hold(cluster, "a")
    cluster.content.put(LAYER)
    cluster.router.holds(HERE, digest_of(LAYER))
    explanation = await explained(cluster)
    assert [part.here for part in explanation.parts] == [False, False, True]
    assert [part.holders for part in explanation.parts] == [("a",)] * 3  # this node is not its own peer


async def test_an_image_by_its_digest_has_no_tag_to_look_up(cluster: FakeCluster) -> None:
    hold(cluster, "a")
    explanation = await explained(cluster, f"reg.test/app@{digest_of(IMAGE)}")
    assert explanation.code is AnswerCode.CLUSTER
    assert not any(code.startswith("tag-") for code in codes(explanation))


async def test_of_an_index_the_image_for_this_architecture_is_looked_up(cluster: FakeCluster) -> None:
    other = image(b"another layer")
    registry = cluster.node("a", CONFIG, LAYER, IMAGE, other)
    cluster.announce(registry, index(arm64=other, amd64=IMAGE), TAG)
    explanation = await explained(cluster)
    assert kinds(explanation) == ["index", "manifest", "config", "layer"]
    assert [part.part.digest for part in explanation.parts][1:] == [
        digest_of(body) for body in (IMAGE, CONFIG, LAYER)
    ]


async def test_indexes_in_indexes_end_somewhere(cluster: FakeCluster) -> None:
    registry, body = cluster.node("a"), IMAGE
    for _ in range(6):
        cluster.announce(registry, body)
        body = index(amd64=body)
    cluster.announce(registry, body, TAG)
    explanation = await explained(cluster)
    assert kinds(explanation) == ["index"] * 4
    assert explanation.code is AnswerCode.NO_MANIFEST


async def test_a_tag_that_nobody_has_is_not_found(cluster: FakeCluster) -> None:
    explanation = await explained(cluster)
    assert explanation.code is AnswerCode.NO_TAG
    assert explanation.parts == ()
    assert StepCode.TAG_NOWHERE in codes(explanation)


async def test_a_manifest_that_cannot_be_had_is_told_with_the_reason(cluster: FakeCluster) -> None:
    hold(cluster, "a")
    cluster.peers.remove("a:5000")
    explanation = await explained(cluster)
    assert explanation.code is AnswerCode.NO_MANIFEST
    assert "peers-failed" in step(explanation, StepCode.MANIFEST_UNAVAILABLE).text
    assert kinds(explanation) == ["manifest"]


async def test_a_tag_that_is_not_answered_is_told_with_the_reason(cluster: FakeCluster) -> None:
    cluster.announce(cluster.node("a", CONFIG), IMAGE, TAG)
    explanation = await explained(cluster)
    assert explanation.code is AnswerCode.TAG_REFUSED
    assert "incomplete" in step(explanation, StepCode.TAG_REFUSED).text


async def test_a_layer_that_nobody_has_is_told(cluster: FakeCluster) -> None:
    cluster.announce(cluster.node("a", CONFIG), IMAGE, TAG)
    explanation = await explained(cluster, f"reg.test/app@{digest_of(IMAGE)}")
    assert explanation.code is AnswerCode.PARTLY
    assert StepCode.LAYERS_MISSING in codes(explanation)
    (layer,) = (part for part in explanation.parts if part.part.kind.value == "layer")
    assert (layer.holders, layer.candidates, layer.known) == ((), (), True)


async def test_without_a_router_own_content_is_still_looked_up(cluster: FakeCluster) -> None:
    hold(cluster, "a")
    for body in (IMAGE, CONFIG):
        cluster.content.put(body)
    cluster.facts.tags[TAG] = digest_of(IMAGE)
    cluster.router.down = "UNAVAILABLE: connection refused"
    explanation = await explained(cluster)
    assert explanation.code is AnswerCode.PARTLY_UNKNOWN
    assert StepCode.TAG_UNCONFIRMED in codes(explanation)
    assert "connection refused" in step(explanation, StepCode.ROUTER_UNAVAILABLE).text
    assert [(part.here, part.known, part.holders) for part in explanation.parts] == [
        (True, False, ()),
        (True, False, ()),
        (False, False, ()),
    ]


async def test_a_router_that_answers_is_told(cluster: FakeCluster) -> None:
    hold(cluster, "a")
    assert StepCode.ROUTER_ANSWERS in codes(await explained(cluster))


async def test_peers_are_named_in_the_order_in_which_they_would_be_asked(cluster: FakeCluster) -> None:
    hold(cluster, "a", "b", "c")
    async with opened(cluster) as (why, here):
        here.peering.failed(PeerFailed("a", "connection reset"))
        explanation = await why.explain(parse_reference(TAG))
    order = explanation.parts[-1].candidates
    assert [(each.node, each.tried, each.asked_last_s > 0) for each in order] == [
        ("b", True, False),
        ("c", True, False),
        ("a", False, True),
    ]
    assert StepCode.PEERS_ASKED_LAST in codes(explanation)


@pytest.mark.parametrize(
    ("excluded", "answer", "code"),
    [
        ("reg.test/app", AnswerCode.EXCLUDED, StepCode.IMAGE_EXCLUDED),
        (":1$", AnswerCode.EXCLUDED, StepCode.TAG_EXCLUDED),
        ("elsewhere", AnswerCode.CLUSTER, StepCode.ADMITTED),
    ],
)
async def test_what_the_settings_exclude_is_told(
    cluster: FakeCluster, excluded: str, answer: AnswerCode, code: StepCode
) -> None:
    hold(cluster, "a")
    explanation = await explained(cluster, images=ImageFilter(excluded=[excluded]))
    assert explanation.code is answer
    assert code in codes(explanation)
