"""Manifests are verified; their media type is stated or derived from their fields."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.manifest import verified
from heliograph_shared.digest import digest_of
from heliograph_shared.image import DOCKER_SCHEMA_1, INDEX, MANIFEST, NotAManifest

DEEP = b"[" * 200_000


def media_type_of(document: object) -> str:
    body = json.dumps(document).encode()
    return verified(digest_of(body), body).media_type


def test_a_stated_media_type_is_used() -> None:
    docker = "application/vnd.docker.distribution.manifest.list.v2+json"
    assert media_type_of({"mediaType": docker, "manifests": []}) == docker


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        ({"schemaVersion": 2, "manifests": []}, INDEX),
        ({"schemaVersion": 2, "config": {}, "layers": []}, MANIFEST),
        ({"schemaVersion": 1, "fsLayers": []}, DOCKER_SCHEMA_1),
        ({"mediaType": "a\r\nb/c", "manifests": []}, INDEX),
    ],
)
def test_without_a_stated_media_type_the_fields_show_it(document: object, media_type: str) -> None:
    assert media_type_of(document) == media_type


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(NotAManifest):
        verified(digest_of(body), body)


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(NotAManifest):
        verified(digest_of(DEEP), DEEP)


def test_bytes_with_another_digest_are_refused() -> None:
    body = json.dumps({"manifests": []}).encode()
    assert verified(digest_of(body), body).body == body
    with pytest.raises(NotAManifest):
        verified(digest_of(b"other"), body)
