"""References: one spelling on the wire for everything that people type."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_shared.reference import (
    InvalidReference,
    Reference,
    is_registry,
    is_repository,
    is_tag,
    names_a_registry,
    parse_reference,
    parse_tag_reference,
    registry_has_capitals,
)

DIGEST = "sha256:" + "ab" * 32

registries = st.from_regex(
    r"[a-z0-9]{1,8}(\.[a-z0-9]{1,8}){1,2}(:[0-9]{1,5})?", fullmatch=True
) | st.sampled_from(["localhost", "localhost:5000", "[::1]:5000", "docker.io"])
repositories = st.from_regex(r"[a-z0-9]{1,6}([._/]|__|-{1,3}[a-z0-9]{1,6}){0,3}[a-z0-9]", fullmatch=True)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("grafana/loki", "docker.io/grafana/loki:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/nginx:1", "docker.io/library/nginx:1"),
        ("registry-1.docker.io/a/b:1", "docker.io/a/b:1"),
        ("quay.io/a/b/c:v1", "quay.io/a/b/c:v1"),
        ("localhost/a:1", "localhost/a:1"),
        ("reg:5000/a", "reg:5000/a:latest"),
        ("[::1]:5000/a:1", "[::1]:5000/a:1"),
        ("GHCR.io/a/b:V1", "ghcr.io/a/b:V1"),
        ("Index.Docker.IO/nginx:1", "docker.io/library/nginx:1"),
        ("host:5000", "docker.io/library/host:5000"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"quay.io/a:1@{DIGEST}", f"quay.io/a:1@{DIGEST}"),
    ],
)
def test_what_people_type_is_filled_in(typed: str, wanted: str) -> None:
    assert str(parse_reference(typed)) == wanted


@pytest.mark.parametrize(
    "typed",
    [
        "",
        ":",
        "/nginx",
        "nginx:",
        "nginx/",
        "Nginx",
        "a//b",
        "quay.io/",
        "quay.io/a:b:c",
        "quay.io/a@",
        "quay.io/a@sha256:12",
        "quay.io/-a",
        "quay.io/a..b",
        "quay.io/a___b",
        "-quay.io/a",
        "quay.io:port/a",
        "quay.io:123456/a",
        "quay.io/a:.1",
        "quay.io/a:" + "x" * 129,
        "quay.io/a\n",
        "quay.io/../a",
        "x" * 5000,
    ],
)
def test_what_is_no_reference_is_refused(typed: str) -> None:
    with pytest.raises(InvalidReference):
        parse_reference(typed)


@given(registries, repositories, tags)
def test_the_wires_spelling_comes_back_as_it_was(registry: str, repository: str, tag: str) -> None:
    if not is_repository(repository):
        return
    if registry == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    text = f"{registry}/{repository}:{tag}"
    reference = parse_tag_reference(text)
    assert reference == Reference(registry, repository, tag)
    assert reference.tag_reference == str(reference) == text


@given(registries, repositories, tags, st.randoms(use_true_random=False))
def test_capitals_in_the_registry_make_no_difference(
    registry: str, repository: str, tag: str, random: Random
) -> None:
    if not is_repository(repository):
        return
    if registry == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    mixed = "".join(random.choice([letter, letter.upper()]) for letter in registry)
    assert parse_tag_reference(f"{mixed}/{repository}:{tag}") == Reference(registry, repository, tag)
    assert registry_has_capitals(f"{mixed}/{repository}:{tag}") is (mixed != registry)


@pytest.mark.parametrize(
    "text",
    [
        "nginx:1",
        "Index.docker.io/library/nginx:1",
        "quay.io/a",
        f"quay.io/a:1@{DIGEST}",
        f"quay.io/a@{DIGEST}",
    ],
)
def test_the_wire_takes_no_other_spelling(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse_tag_reference(text)


def test_the_longest_parts_make_a_reference() -> None:
    registry = ".".join(["r" * 63] * 3 + ["r" * 57]) + ":5000"
    text = f"{registry}/{'a' * 255}:{'t' * 128}"
    assert len(registry) <= 255
    assert str(parse_tag_reference(text)) == text
    digest = "sha512:" + "0" * 128
    assert str(parse_reference(f"{text}@{digest}")) == f"{text}@{digest}"


@given(st.text(max_size=40) | st.text("a:/@.-_[]5", max_size=20))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidReference as error:
        refused = error.text
        assert refused == text
        return
    assert is_registry(reference.registry)
    assert is_repository(reference.repository)
    assert reference.tag is None or is_tag(reference.tag)
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("component", "registry"),
    [("docker.io", True), ("reg:5000", True), ("localhost", True), ("library", False), ("", False)],
)
def test_a_first_component_that_names_a_registry(component: str, registry: bool) -> None:  # noqa: FBT001
    assert names_a_registry(component) is registry
