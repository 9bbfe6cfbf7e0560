"""Why an image is served as it is: the sentences that an operator reads."""

from dataclasses import replace

import pytest

from heliograph_registry.debug.domain.explanation import (
    Candidate,
    Case,
    Explanation,
    LookedUp,
    MirrorStatus,
    Step,
    TagAnswer,
    Tone,
    explained,
)
from heliograph_registry.debug.domain.image import Kind, Part
from heliograph_registry.mirror.domain.peer import Outcome
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_shared.digest import digest_of
from heliograph_shared.filters import Exclusion

ONE, TWO = digest_of(b"one"), digest_of(b"two")
NOW = MirrorStatus(
    no_router=None,
    left_alone_s=0.0,
    remembered=(),
    peer_dns=False,
    attempts=3,
    wait_ms=0,
    first_byte_ms=300,
    transfers=0,
    most_transfers=128,
)


def away(node: str = "node-1", *, last_s: float = 0.0) -> LookedUp:
    candidate = Candidate(node, ("10.0.0.1:5000",), last_s, tried=True)
    return LookedUp(Part(Kind.LAYER, TWO, 100), here=False, holders=(node,), order=(candidate,))


HERE = LookedUp(Part(Kind.MANIFEST, ONE, 10, "linux/amd64"), here=True, holders=(), order=())
NOBODY = LookedUp(Part(Kind.LAYER, TWO, 100), here=False, holders=(), order=())
CASE = Case(
    reference="reg.test/app:1",
    by_tag=None,
    by_digest=None,
    tag=TagAnswer(Outcome.FOUND, ONE, None),
    digest=ONE,
    manifest=None,
    parts=(HERE, away()),
    status=NOW,
)


def step(explanation: Explanation, title: str) -> Step:
    return next(step for step in explanation.steps if step.title == title)


@pytest.mark.parametrize(
    ("parts", "tone", "answer"),
    [
        ((HERE,), Tone.GOOD, "Served from this node's own store: it has all 1 part."),
        ((away(),), Tone.GOOD, "Served in the cluster: all 1 part, first asked of node-1."),
        (
            (HERE, away("node-7")),
            Tone.GOOD,
            "1 of them from its own store, the others first asked of node-7",
        ),
        ((HERE, NOBODY), Tone.NOTE, "1 of 2 parts; the other 1 nobody has"),
        ((HERE, replace(NOBODY, known=False)), Tone.BAD, "no router can tell"),
    ],
)
def test_the_answer_says_where_the_parts_come_from(
    parts: tuple[LookedUp, ...], tone: Tone, answer: str
) -> None:
    explanation = explained(replace(CASE, parts=parts))
    assert explanation.tone is tone
    assert answer in explanation.answer


@pytest.mark.parametrize(
    ("exclusion", "text", "remedy"),
    [
        (
            Exclusion("HELIOGRAPH_REGISTRY_FILTERS", ":dev$"),
            "The expression `:dev$`",
            "Change the expression",
        ),
        (Exclusion("HELIOGRAPH_MIRRORED_REGISTRIES", "reg.test"), "does not list reg.test", "Add reg.test"),
    ],
)
def test_the_setting_that_excludes_it_is_named_with_its_remedy(
    exclusion: Exclusion, text: str, remedy: str
) -> None:
    explanation = explained(replace(CASE, by_tag=exclusion, by_digest=exclusion))
    assert explanation.tone is Tone.BAD
    assert f"Not mirrored: {exclusion.setting} excludes this image" in explanation.answer
    settings = step(explanation, "Settings")
    assert settings.tone is Tone.BAD
    assert text in settings.text
    assert "filtered" in settings.text
    assert remedy in settings.remedy


def test_a_tag_that_alone_is_excluded_can_be_had_by_digest() -> None:
    explanation = explained(replace(CASE, by_tag=Exclusion("HELIOGRAPH_REGISTRY_FILTERS", ":1$")))
    assert "excludes this tag" in explanation.answer
    assert "who asks by digest is served" in step(explanation, "Settings").text


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (TagAnswer(Outcome.FOUND, ONE, ONE), "So it does on this node."),
        (TagAnswer(Outcome.FOUND, ONE, TWO), "it still names"),
        (TagAnswer(Outcome.NOT_FOUND, None, TWO), "the router does not know the tag"),
        (TagAnswer(Outcome.NOT_SYNCED, None, TWO), "no router tells what it names elsewhere"),
        (TagAnswer(Outcome.NOT_FOUND, None, None), "No node has it."),
        (TagAnswer(Outcome.NOT_SYNCED, None, None), "still rebuilding"),
    ],
)
def test_what_the_tag_names_is_told_apart_from_what_this_node_says(tag: TagAnswer, text: str) -> None:
    assert text in step(explained(replace(CASE, tag=tag)), "Tag").text


def test_what_nobody_has_goes_upstream() -> None:
    nobody = replace(CASE, tag=TagAnswer(Outcome.NOT_FOUND, None, None), digest=None, parts=())
    assert explained(nobody).answer.startswith("Not in the cluster: no node has this tag")
    lost = replace(nobody, status=replace(NOW, no_router="UNAVAILABLE"))
    assert explained(lost).answer.startswith("Not served: no router answers")


def test_a_manifest_that_cannot_be_had_says_why() -> None:
    explanation = explained(replace(CASE, manifest=Reason.PEERS_FAILED, parts=()))
    assert "none of those asked delivered" in explanation.answer
    assert "5000" in step(explanation, "Manifest").remedy


def test_routers_that_do_not_answer_leave_what_is_remembered() -> None:
    lost = replace(NOW, no_router="UNAVAILABLE: nobody there", left_alone_s=1.5, remembered=("node-4",))
    router = step(explained(replace(CASE, status=lost)), "Router")
    assert router.tone is Tone.BAD
    assert "the breaker is open" in router.text
    assert "node-4" in router.text
    alone = step(explained(replace(CASE, status=replace(lost, remembered=()))), "Router")
    assert "HELIOGRAPH_PEER_DNS is off" in alone.text


def test_layers_that_nobody_holds_though_the_manifest_is_there_have_a_likely_cause() -> None:
    layers = step(explained(replace(CASE, parts=(HERE, NOBODY))), "Layers")
    assert layers.text.startswith("1 layer of it nobody holds")
    assert "discard_unpacked_layers" in layers.remedy
    for parts in ((HERE, away()), (HERE, replace(NOBODY, known=False))):
        explanation = explained(replace(CASE, parts=parts))
        assert all(each.title != "Layers" for each in explanation.steps)


def test_a_peer_in_bad_standing_is_named_with_the_time_that_is_left() -> None:
    peers = step(explained(replace(CASE, parts=(away("node-3", last_s=21.0),))), "Peers")
    assert "node-3 for another 21 s" in peers.text


def test_limits_are_said_and_stand_out_when_they_are_reached() -> None:
    idle = step(explained(CASE), "Limits")
    assert "HELIOGRAPH_WAIT_MS is off" in idle.text
    assert idle.tone is Tone.NOTE
    busy = step(explained(replace(CASE, status=replace(NOW, wait_ms=60_000, transfers=128))), "Limits")
    assert "1 min" in busy.text
    assert busy.tone is Tone.BAD
    assert "HELIOGRAPH_MAX_TRANSFERS" in busy.remedy
