"""Missing layers are found by labels as containerd 1.6, 1.7 and 2.1 write them."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_indexer.domain.missing_layers import (
    ImageRecord,
    Labels,
    examine_layers,
    held_manifests,
    incomplete_manifests,
    of_this_platform,
)

REF = "containerd.io/gc.ref.content."
INDEX, OWN, OTHER, CONFIG = "sha256:index", "sha256:own", "sha256:other", "sha256:config"
NAMES = [
    ImageRecord("sha256:id", INDEX, 2_000),
    ImageRecord("reg.test/app@sha256:index", INDEX, 3_000),
    ImageRecord("reg.test/app:v1", INDEX, 1_000),
]


def manifest_labels(*layers: str) -> Labels:
    numbered = {f"{REF}l.{number}": layer for number, layer in enumerate(layers)}
    return {f"{REF}config": CONFIG, "containerd.io/distribution.source.reg.test": "app", **numbered}


def store(own: Labels, *blobs: str, other: Labels | None = None) -> dict[str, Labels]:
    others: dict[str, Labels] = {} if other is None else {OTHER: other}
    index = {f"{REF}m.0": OTHER, f"{REF}m.1": OWN}
    return {INDEX: index, OWN: own, CONFIG: {}, **others, **{blob: {} for blob in blobs}}


@given(st.lists(st.sampled_from(["sha256:a", "sha256:b", "sha256:c"]), unique=True))
def test_what_is_not_here_is_missing(here: list[str]) -> None:
    wanted = ["sha256:a", "sha256:b", "sha256:c"]
    blobs = store(manifest_labels(*wanted), *here)
    found = of_this_platform(held_manifests(NAMES, blobs), blobs)
    missing = incomplete_manifests(found, blobs)
    assert [layer for _, layers in missing for layer in layers] == [one for one in wanted if one not in here]
    assert {one.image for one, _ in missing} <= {"reg.test/app:v1"}


def test_platforms_of_which_only_the_manifest_is_here_are_left_out() -> None:
    blobs = store(manifest_labels("sha256:a"), "sha256:a", other=manifest_labels("sha256:x"))
    assert [one.digest for one in of_this_platform(held_manifests(NAMES, blobs), blobs)] == [OWN]


def test_a_manifest_without_references_to_layers_is_known_as_such() -> None:
    blobs = store(manifest_labels())
    (found,) = held_manifests(NAMES, blobs)
    assert (found.digest, found.has_layer_labels, found.layers) == (OWN, False, ())


def test_layers_of_another_media_type_are_references_too() -> None:
    blobs = store({f"{REF}config": CONFIG, f"{REF}1": "sha256:wasm"}, "sha256:wasm")
    (found,) = held_manifests(NAMES, blobs)
    assert found.has_layer_labels
    assert incomplete_manifests([found], blobs) == []


def test_a_name_without_content_and_an_image_that_is_no_image_are_nothing() -> None:
    assert held_manifests([ImageRecord("reg.test/app:v1", "sha256:gone", 1)], {}) == []
    assert held_manifests([ImageRecord("reg.test/app:v1", "sha256:blob", 1)], {"sha256:blob": {}}) == []


def test_many_incomplete_images_are_one_finding() -> None:
    images = [ImageRecord(f"reg.test/app:v{number}", f"sha256:m{number}", number) for number in range(50)]
    blobs = {image.target: manifest_labels(*map(str, range(20))) for image in images}
    (finding,) = examine_layers(incomplete_manifests(held_manifests(images, blobs), blobs), "k8s.io")
    assert "50 images" in finding.problem
    assert finding.remedy == "ctr --namespace k8s.io content fetch reg.test/app:v49"
    assert "and 17 more" in finding.seen
    assert list(examine_layers([], "k8s.io")) == []
