"""The explanation of why an image is served as it is: its answer, and a step for each thing that decides."""

from dataclasses import replace

import pytest

from heliograph_registry.debug.domain.explanation import (
    AnswerCode,
    Explanation,
    ImageLookup,
    MirrorStatus,
    PartLocation,
    PeerCandidate,
    Step,
    StepCode,
    TagLookup,
    Tone,
    explanation_of,
)
from heliograph_registry.debug.domain.formatting import short
from heliograph_registry.mirror.domain.peer import Outcome
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_shared.digest import digest_of
from heliograph_shared.filters import Exclusion
from heliograph_shared.image import ImagePart, Kind

ONE, TWO = digest_of(b"one"), digest_of(b"two")
NOW = MirrorStatus(
    router_error=None,
    breaker_open_s=0.0,
    remembered=(),
    peer_dns=False,
    attempts=3,
    wait_ms=0,
    first_byte_ms=300,
    transfers=0,
    max_transfers=128,
)


def away(node: str = "node-1", *, asked_last_s: float = 0.0) -> PartLocation:
    candidate = PeerCandidate(node, ("10.0.0.1:5000",), asked_last_s, tried=True)
    return PartLocation(ImagePart(Kind.LAYER, TWO, 100), here=False, holders=(node,), candidates=(candidate,))


HERE = PartLocation(ImagePart(Kind.MANIFEST, ONE, 10, "linux/amd64"), here=True, holders=(), candidates=())
NOBODY = PartLocation(ImagePart(Kind.LAYER, TWO, 100), here=False, holders=(), candidates=())
LOOKUP = ImageLookup(
    reference="reg.test/app:1",
    by_tag=None,
    by_digest=None,
    tag=TagLookup(Outcome.FOUND, ONE, None),
    digest=ONE,
    manifest_error=None,
    parts=(HERE, away()),
    status=NOW,
)


def step(explanation: Explanation, title: str) -> Step:
    return next(step for step in explanation.steps if step.title == title)


@pytest.mark.parametrize(
    ("parts", "code", "tone", "details"),
    [
        ((HERE,), AnswerCode.OWN_STORE, Tone.GOOD, ["all 1 part."]),
        ((away(),), AnswerCode.CLUSTER, Tone.GOOD, ["all 1 part,", "from node-1"]),
        (
            (HERE, away("node-7")),
            AnswerCode.CLUSTER,
            Tone.GOOD,
            ["all 2 parts,", "1 from this node's own store", "from node-7"],
        ),
        ((HERE, NOBODY), AnswerCode.PARTLY, Tone.NOTE, ["1 of 2 parts", "the other 1"]),
        ((HERE, replace(NOBODY, known=False)), AnswerCode.PARTLY_UNKNOWN, Tone.BAD, ["1 of 2 parts"]),
    ],
)
def test_the_answer_says_where_the_parts_come_from(
    parts: tuple[PartLocation, ...], code: AnswerCode, tone: Tone, details: list[str]
) -> None:
    explanation = explanation_of(replace(LOOKUP, parts=parts))
    assert (explanation.code, explanation.tone) == (code, tone)
    for detail in details:
        assert detail in explanation.answer


@pytest.mark.parametrize(
    ("exclusion", "remedy"),
    [
        (Exclusion("HELIOGRAPH_REGISTRY_FILTERS", ":dev$"), "Change the expression"),
        (Exclusion("HELIOGRAPH_MIRRORED_REGISTRIES", "reg.test"), "Add reg.test"),
    ],
)
def test_the_setting_that_excludes_it_is_named_with_its_remedy(exclusion: Exclusion, remedy: str) -> None:
    explanation = explanation_of(replace(LOOKUP, by_tag=exclusion, by_digest=exclusion))
    assert (explanation.code, explanation.tone) == (AnswerCode.EXCLUDED, Tone.BAD)
    assert f"{exclusion.setting} excludes this image" in explanation.answer
    settings = step(explanation, "Settings")
    assert (settings.code, settings.tone) == (StepCode.IMAGE_EXCLUDED, Tone.BAD)
    for word in (exclusion.setting, exclusion.entry, "filtered"):
        assert word in settings.text
    assert remedy in settings.remedy


def test_an_image_whose_tag_alone_is_excluded_is_served_by_digest() -> None:
    explanation = explanation_of(replace(LOOKUP, by_tag=Exclusion("HELIOGRAPH_REGISTRY_FILTERS", ":1$")))
    assert explanation.code is AnswerCode.EXCLUDED
    assert "excludes this tag" in explanation.answer
    settings = step(explanation, "Settings")
    assert settings.code is StepCode.TAG_EXCLUDED
    assert "by digest" in settings.text


@pytest.mark.parametrize(
    ("tag", "code", "details"),
    [
        (TagLookup(Outcome.FOUND, ONE, ONE), StepCode.TAG_SAME_HERE, [short(ONE)]),
        (TagLookup(Outcome.FOUND, ONE, TWO), StepCode.TAG_DIFFERS_HERE, [short(ONE), short(TWO)]),
        (TagLookup(Outcome.FOUND, ONE, None), StepCode.TAG_ELSEWHERE, [short(ONE)]),
        (TagLookup(Outcome.NOT_FOUND, None, TWO), StepCode.TAG_ONLY_HERE, [short(TWO)]),
        (TagLookup(Outcome.NOT_SYNCED, None, TWO), StepCode.TAG_UNCONFIRMED, [short(TWO)]),
        (TagLookup(Outcome.NOT_FOUND, None, None), StepCode.TAG_NOWHERE, ["No node"]),
        (TagLookup(Outcome.NOT_SYNCED, None, None), StepCode.TAG_UNKNOWN, ["rebuilding"]),
    ],
)
def test_the_tag_in_the_cluster_is_told_apart_from_the_tag_on_this_node(
    tag: TagLookup, code: StepCode, details: list[str]
) -> None:
    found = step(explanation_of(replace(LOOKUP, tag=tag)), "Tag")
    assert found.code is code
    for detail in details:
        assert detail in found.text


def test_an_image_named_by_digest_has_no_step_for_a_tag() -> None:
    assert all(each.title != "Tag" for each in explanation_of(replace(LOOKUP, tag=None)).steps)


def test_an_image_that_no_node_has_goes_upstream() -> None:
    nowhere = replace(LOOKUP, tag=TagLookup(Outcome.NOT_FOUND, None, None), digest=None, parts=())
    assert explanation_of(nowhere).code is AnswerCode.NO_TAG
    assert "upstream" in explanation_of(nowhere).answer
    syncing = replace(nowhere, tag=TagLookup(Outcome.NOT_SYNCED, None, None))
    assert explanation_of(syncing).code is AnswerCode.NOT_SYNCED
    lost = replace(nowhere, status=replace(NOW, router_error="UNAVAILABLE"))
    assert explanation_of(lost).code is AnswerCode.NO_ROUTER


def test_a_manifest_that_cannot_be_read_says_why() -> None:
    explanation = explanation_of(replace(LOOKUP, manifest_error=Reason.PEERS_FAILED, parts=()))
    assert explanation.code is AnswerCode.NO_MANIFEST
    assert "none of the peers" in explanation.answer
    manifest = step(explanation, "Manifest")
    assert manifest.code is StepCode.MANIFEST_UNAVAILABLE
    assert "peers-failed" in manifest.text
    assert "5000" in manifest.remedy


def test_when_no_router_answers_remembered_peers_are_named() -> None:
    lost = replace(NOW, router_error="UNAVAILABLE: nobody there", breaker_open_s=1.5, remembered=("node-4",))
    router = step(explanation_of(replace(LOOKUP, status=lost)), "Router")
    assert (router.code, router.tone) == (StepCode.ROUTER_UNAVAILABLE, Tone.BAD)
    for detail in ("nobody there", "breaker is open", "1.5 s", "node-4"):
        assert detail in router.text
    alone = step(explanation_of(replace(LOOKUP, status=replace(lost, remembered=()))), "Router")
    assert "HELIOGRAPH_PEER_DNS is off" in alone.text
    well = step(explanation_of(LOOKUP), "Router")
    assert (well.code, well.tone) == (StepCode.ROUTER_ANSWERS, Tone.GOOD)


def test_layers_that_no_node_holds_although_the_manifest_is_there_have_a_likely_cause() -> None:
    layers = step(explanation_of(replace(LOOKUP, parts=(HERE, NOBODY))), "Layers")
    assert layers.code is StepCode.LAYERS_MISSING
    assert "1 layer" in layers.text
    assert "discard_unpacked_layers" in layers.remedy
    for parts in ((HERE, away()), (HERE, replace(NOBODY, known=False))):
        explanation = explanation_of(replace(LOOKUP, parts=parts))
        assert all(each.title != "Layers" for each in explanation.steps)


def test_a_peer_that_is_asked_last_is_named_with_the_time_that_is_left() -> None:
    peers = step(explanation_of(replace(LOOKUP, parts=(away("node-3", asked_last_s=21.0),))), "Peers")
    assert peers.code is StepCode.PEERS_ASKED_LAST
    assert "node-3 for another 21 s" in peers.text


def test_limits_are_named_and_stand_out_when_they_are_reached() -> None:
    idle = step(explanation_of(LOOKUP), "Limits")
    assert "HELIOGRAPH_WAIT_MS is off" in idle.text
    assert (idle.code, idle.tone) == (StepCode.LIMITS, Tone.NOTE)
    full = replace(NOW, wait_ms=60_000, transfers=128)
    busy = step(explanation_of(replace(LOOKUP, status=full)), "Limits")
    assert "1 min" in busy.text
    assert (busy.code, busy.tone) == (StepCode.LIMIT_REACHED, Tone.BAD)
    assert "HELIOGRAPH_MAX_TRANSFERS" in busy.remedy


@pytest.mark.parametrize(
    ("location", "words"),
    [
        (NOBODY, "no node"),
        (replace(NOBODY, known=False), "not known"),
        (replace(NOBODY, holders=("node-1",)), "no address"),
    ],
)
def test_a_part_that_is_requested_from_no_peer_says_why(location: PartLocation, words: str) -> None:
    assert words in location.why_no_candidates
