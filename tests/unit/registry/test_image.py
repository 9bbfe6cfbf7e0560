"""OrderedRanges of an image: what is a descriptor is found, whatever else the manifest holds."""

import json

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.debug.domain.image import Kind, chosen, content, kind_of, platforms
from heliograph_registry.mirror.domain.manifest import Manifest, NotAManifest, verified
from heliograph_shared.digest import digest_of

ONE, TWO, THREE = (digest_of(name) for name in (b"one", b"two", b"three"))

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(ONE)
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["manifests", "config", "layers", "digest", "size", "platform", "os", "mediaType"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=8,
)


def manifest(document: object) -> Manifest:
    body = json.dumps(document).encode()
    return verified(digest_of(body), body)


def test_config_and_layers_come_once_each_in_order() -> None:
    image = manifest(
        {
            "config": {"digest": ONE, "size": 10},
            "layers": [
                {"digest": TWO, "size": 20},
                {"digest": THREE, "size": 30},
                {"digest": TWO, "size": 20},
            ],
        }
    )
    assert kind_of(image) is Kind.MANIFEST
    assert [(part.kind, part.digest, part.size_bytes) for part in content(image)] == [
        (Kind.CONFIG, ONE, 10),
        (Kind.LAYER, TWO, 20),
        (Kind.LAYER, THREE, 30),
    ]


def test_the_platform_of_this_machine_is_chosen_else_the_first() -> None:
    index = manifest(
        {
            "manifests": [
                {"digest": ONE, "size": 1, "platform": {"os": "linux", "architecture": "arm64"}},
                {"digest": TWO, "size": 2, "platform": {"os": "linux", "architecture": "amd64"}},
            ]
        }
    )
    assert kind_of(index) is Kind.INDEX
    found = platforms(index)
    assert chosen(found, "amd64") == found[1]
    assert chosen(found, "s390x") == found[0]
    assert chosen((), "amd64") is None


@given(st.dictionaries(st.sampled_from(["manifests", "config", "layers", "mediaType"]), documents))
def test_whatever_a_manifest_holds_its_parts_can_be_listed(document: dict[str, object]) -> None:
    try:
        made = manifest(document)
    except NotAManifest:
        return
    assert kind_of(made) in {Kind.INDEX, Kind.MANIFEST}
    for part in (*platforms(made), *content(made)):
        assert part.size_bytes >= 0
