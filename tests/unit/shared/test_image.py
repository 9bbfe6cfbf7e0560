"""Image indexes and manifests: the strict reader refuses what is invalid, the lenient one skips it."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.image import (
    DOCKER_SCHEMA_1,
    INDEX,
    MANIFEST,
    Descriptor,
    Document,
    ImageIndex,
    ImageManifest,
    ImagePart,
    Kind,
    NotAManifest,
    StatedPlatform,
    children,
    chosen,
    content,
    kind_of,
    media_type_of,
    parse_document,
    parse_manifest,
    platforms,
)
from heliograph_shared.platforms import Matcher, parse_platform

ONE, TWO, THREE = (digest_of(name) for name in (b"one", b"two", b"three"))
AMD64, ARM64 = (Matcher(parse_platform(f"linux/{name}")) for name in ("amd64", "arm64"))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just(ONE),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["manifests", "config", "layers", "digest", "size", "mediaType", "platform", "os"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


def document(fields: object) -> Document:
    return parse_document(json.dumps(fields).encode())


def described(name: str, os: str = "linux", architecture: str = "") -> Descriptor:
    return Descriptor(
        digest=digest_of(name.encode()),
        size_bytes=1,
        platform=StatedPlatform(os=os, architecture=architecture),
    )


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_either_read_or_refused(body: bytes) -> None:
    with suppress(NotAManifest):
        assert parse_manifest(body).kind in {Kind.INDEX, Kind.MANIFEST}


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())
)
def test_what_is_not_a_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(NotAManifest):
        parse_document(body)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(NotAManifest):
        parse_document(b"[" * 200_000)
    with pytest.raises(NotAManifest):
        parse_manifest(b"[" * 200_000)


def test_dockers_manifests_are_read_like_those_of_oci() -> None:
    docker = "application/vnd.docker.distribution.manifest"
    blob = {"mediaType": "x", "digest": digest_of(b""), "size": 0}
    manifest = parse_manifest(
        json.dumps(
            {"schemaVersion": 2, "mediaType": f"{docker}.v2+json", "config": blob, "layers": []}
        ).encode()
    )
    index = parse_manifest(json.dumps({"mediaType": f"{docker}.list.v2+json", "manifests": [blob]}).encode())
    assert isinstance(manifest, ImageManifest)
    assert isinstance(index, ImageIndex)
    assert (manifest.media_type, index.media_type) == (f"{docker}.v2+json", f"{docker}.list.v2+json")


@pytest.mark.parametrize("size", [-1, "1", 1.5, None])
def test_a_size_that_is_no_count_is_refused_to_pull_and_unknown_to_describe(size: object) -> None:
    fields = {"config": {"mediaType": "x", "digest": ONE, "size": size}, "layers": []}
    with pytest.raises(NotAManifest, match="size"):
        parse_manifest(json.dumps(fields).encode())
    assert content(document(fields)) == (ImagePart(Kind.CONFIG, ONE, 0),)


def test_linux_on_this_architecture_is_chosen_else_the_first() -> None:
    entries = [described("a", "windows", "amd64"), described("b", "linux", "arm64")]
    assert chosen(entries, ARM64) is entries[1]
    assert chosen(entries, AMD64) is entries[0]
    assert chosen(list[Descriptor](), AMD64) is None


def test_the_platforms_of_an_index_are_listed_to_choose_from() -> None:
    index = document(
        {
            "manifests": [
                {"digest": ONE, "size": 1, "platform": {"os": "linux", "architecture": "arm64"}},
                {"digest": TWO, "size": 2, "platform": {"os": "linux", "architecture": "amd64"}},
            ]
        }
    )
    assert kind_of(index) is Kind.INDEX
    found = platforms(index)
    assert chosen(found, AMD64) == found[1] == ImagePart(Kind.MANIFEST, TWO, 2, "linux/amd64")
    assert chosen(found, Matcher(parse_platform("linux/s390x"))) == found[0]
    assert chosen(list[ImagePart](), AMD64) is None


def test_config_and_layers_come_once_each_in_order() -> None:
    fields = {
        "config": {"digest": ONE, "size": 10},
        "layers": [
            {"digest": TWO, "size": 20},
            {"digest": THREE, "size": 30},
            {"digest": TWO, "size": 20},
        ],
    }
    parts = (
        ImagePart(Kind.CONFIG, ONE, 10),
        ImagePart(Kind.LAYER, TWO, 20),
        ImagePart(Kind.LAYER, THREE, 30),
    )
    image = document(fields)
    assert kind_of(image) is Kind.MANIFEST
    assert content(image) == parts
    assert children(image) == (ONE, TWO, THREE)
    manifest = parse_manifest(json.dumps(fields).encode())
    assert isinstance(manifest, ImageManifest)
    assert manifest.blobs == parts


def test_the_number_of_parts_is_bounded() -> None:
    descriptors = [{"digest": digest_of(str(number).encode()), "size": 1} for number in range(2_000)]
    assert len(platforms(document({"manifests": descriptors}))) == 512
    assert len(content(document({"config": {}, "layers": descriptors}))) == 512
    assert len(children(document({"config": descriptors[0], "layers": descriptors[1:]}))) == 1_000


@given(st.dictionaries(st.sampled_from(["manifests", "config", "layers", "mediaType"]), JSON))
def test_whatever_a_manifest_holds_its_parts_can_be_listed(fields: dict[str, object]) -> None:
    made = document(fields)
    assert kind_of(made) in {Kind.INDEX, Kind.MANIFEST}
    for part in (*platforms(made), *content(made)):
        assert part.size_bytes >= 0
        assert part.digest in children(made)


def test_the_stated_media_type_counts() -> None:
    docker = "application/vnd.docker.distribution.manifest.list.v2+json"
    assert media_type_of({"mediaType": docker, "manifests": []}) == docker


@pytest.mark.parametrize(
    ("fields", "media_type"),
    [
        ({"schemaVersion": 2, "manifests": []}, INDEX),
        ({"schemaVersion": 2, "config": {}, "layers": []}, MANIFEST),
        ({"schemaVersion": 1, "fsLayers": []}, DOCKER_SCHEMA_1),
        ({"mediaType": "a\r\nb/c", "manifests": []}, INDEX),
    ],
)
def test_else_the_fields_tell(fields: dict[str, object], media_type: str) -> None:
    assert media_type_of(fields) == media_type


@pytest.mark.parametrize("fields", [{}, {"manifests": {}}, {"config": {}}, {"layers": []}])
def test_no_media_type_is_made_up(fields: dict[str, object]) -> None:
    with pytest.raises(NotAManifest):
        media_type_of(fields)


def test_digests_are_those_of_the_registered_algorithms() -> None:
    with pytest.raises(ValueError, match="digest"):
        Descriptor(digest=Digest("../../etc/passwd"), size_bytes=1)
