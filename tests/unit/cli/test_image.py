import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_cli.image import (
    Descriptor,
    ImageIndex,
    ImageManifest,
    Kind,
    NotAManifest,
    Platform,
    choose,
    parse_manifest,
)
from heliograph_shared.digest import Digest, digest_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["manifests", "config", "layers", "digest", "size", "mediaType", "platform"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


def described(name: str, os: str = "linux", architecture: str = "") -> Descriptor:
    return Descriptor(
        digest=digest_of(name.encode()), size_bytes=1, platform=Platform(os=os, architecture=architecture)
    )


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_the_bytes_are_it_is_a_manifest_or_said_to_be_none(body: bytes) -> None:
    with suppress(NotAManifest):
        assert parse_manifest(body).kind in {Kind.INDEX, Kind.MANIFEST}


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
def test_a_size_that_is_no_count_is_refused(size: object) -> None:
    blob = {"mediaType": "x", "digest": digest_of(b""), "size": size}
    with pytest.raises(NotAManifest, match="size"):
        parse_manifest(json.dumps({"config": blob, "layers": []}).encode())


def test_linux_on_this_architecture_is_chosen_else_the_first() -> None:
    entries = [described("a", "windows", "amd64"), described("b", "linux", "arm64")]
    assert choose(entries, "arm64") is entries[1]
    assert choose(entries, "amd64") is entries[0]
    assert choose([], "amd64") is None


def test_a_layer_that_is_in_an_image_twice_is_one_blob() -> None:
    config, layer = described("config"), described("layer")
    manifest = ImageManifest(config=config, layers=(layer, layer))
    assert manifest.blobs == ((config, Kind.CONFIG), (layer, Kind.LAYER))


def test_digests_are_those_of_the_registered_algorithms() -> None:
    with pytest.raises(ValueError, match="digest"):
        Descriptor(digest=Digest("../../etc/passwd"), size_bytes=1)
