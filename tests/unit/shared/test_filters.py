"""Which images are mirrored."""

import pytest

from heliograph_shared.filters import Exclusion, ImageFilter, InvalidFilter, registry_of


def test_the_setting_that_excludes_an_image_is_named() -> None:
    images = ImageFilter(mirrored=["quay.io"], excluded=["never", ":dev$"])
    assert images.exclusion("docker.io", "a") == Exclusion("HELIOGRAPH_MIRRORED_REGISTRIES", "docker.io")
    assert images.exclusion("quay.io", "a", "dev") == Exclusion("HELIOGRAPH_REGISTRY_FILTERS", ":dev$")
    assert images.exclusion("quay.io", "a") is None


def test_without_settings_everything_is_admitted() -> None:
    assert ImageFilter().admits("quay.io", "a/b", "v1")


def test_only_the_registries_that_are_named_are_mirrored() -> None:
    images = ImageFilter(mirrored=["docker.io", "http://reg.test:5000", "https://quay.io/"])
    assert images.admits("docker.io", "library/nginx")
    assert images.admits("reg.test:5000", "a")
    assert images.admits("quay.io", "a")
    assert not images.admits("reg.test", "a")
    assert not images.admits("ghcr.io", "a")


@pytest.mark.parametrize("entry", ["docker.io", "registry-1.docker.io", "https://index.docker.io"])
def test_docker_hub_has_one_name(entry: str) -> None:
    assert ImageFilter(mirrored=[entry]).admits("docker.io", "library/nginx")


@pytest.mark.parametrize("entry", ["ghcr.io", "GHCR.io", "https://Ghcr.IO"])
@pytest.mark.parametrize("registry", ["ghcr.io", "GHCR.io"])
def test_capitals_of_a_registry_make_no_difference(entry: str, registry: str) -> None:
    assert ImageFilter(mirrored=[entry]).admits(registry, "a")
    assert not ImageFilter(excluded=[rf"^{registry}/a"]).admits("GHCR.IO", "a")


@pytest.mark.parametrize(
    ("pattern", "registry", "repository", "tag", "admitted"),
    [
        (":latest$", "quay.io", "a", "latest", False),
        (":latest$", "quay.io", "a", "v1", True),
        (":latest$", "quay.io", "a", None, True),
        ("/secret/", "quay.io", "secret/a", None, False),
        (r"^quay\.io/", "quay.io", "a", "v1", False),
        (r"^quay\.io/", "notquay.io", "a", "v1", True),
        ("^library/", "docker.io", "library/a", None, True),
    ],
)
def test_an_expression_is_searched_in_the_whole_name(
    pattern: str,
    registry: str,
    repository: str,
    tag: str | None,
    admitted: bool,  # noqa: FBT001
) -> None:
    assert ImageFilter(excluded=["never", pattern]).admits(registry, repository, tag) is admitted


def test_an_exclusion_wins_over_a_mirrored_registry() -> None:
    assert not ImageFilter(mirrored=["quay.io"], excluded=["/secret"]).admits("quay.io", "secret")


@pytest.mark.parametrize(
    "entry",
    ["", "a/b", "http://", "ftp://quay.io", "quay.io?x", "me@quay.io", "quay.io:99999999", "http://[::1"],
)
def test_what_is_no_registry_is_named(entry: str) -> None:
    with pytest.raises(InvalidFilter, match="not a registry"):
        registry_of(entry)


def test_a_broken_expression_is_named() -> None:
    with pytest.raises(InvalidFilter, match=r"'a\(b'.*unterminated"):
        ImageFilter(excluded=["ok", "a(b"])
