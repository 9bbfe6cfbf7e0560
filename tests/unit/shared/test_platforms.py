"""Platforms: their spellings, and which entry of an index a node takes, as containerd does."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_shared.platforms import InvalidPlatform, Matcher, parse_platform, this_platform


@dataclass(frozen=True)
class Entry:
    platform: str | None


def taken(node: str, *stated: str | None) -> str | None:
    best = Matcher(parse_platform(node)).best([Entry(platform) for platform in stated])
    return best.platform if best else None


@pytest.mark.parametrize(
    ("spelt", "normalized"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("Linux/AMD64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/i686", "linux/386"),
        ("linux/riscv64", "linux/riscv64"),
    ],
)
def test_a_platform_has_many_spellings(spelt: str, normalized: str) -> None:
    assert str(parse_platform(spelt)) == normalized


@pytest.mark.parametrize("text", ["", "linux", "arm64", "/", "linux/", "linux/a/b/c", "linux/a b"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidPlatform):
        parse_platform(text)


@given(st.text(max_size=60))
def test_any_text_is_a_platform_or_refused_and_no_node_chokes_on_it(text: str) -> None:
    taken("linux/arm64", text)
    try:
        platform = parse_platform(text)
    except InvalidPlatform:
        return
    assert parse_platform(str(platform)) == platform
    assert Matcher(platform).matches(text)


@pytest.mark.parametrize(
    ("node", "stated", "expected"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["linux/386", "linux/amd64/v1"], "linux/amd64/v1"),
        ("linux/amd64", ["linux/386"], "linux/386"),
        ("linux/amd64", ["linux/amd64/v2"], None),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"),
        ("linux/arm64", ["linux/amd64", "linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm64/v9", ["linux/arm64", "linux/arm64/v9"], "linux/arm64/v9"),
        ("linux/arm64/v9", ["linux/arm/v7", "linux/arm64"], "linux/arm64"),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5", "linux/arm64"], "linux/arm/v5"),
        ("linux/amd64", ["windows/amd64", "unknown/unknown"], None),
        ("linux/amd64", ["unknown/unknown", None, "linux/amd64"], "linux/amd64"),
        ("linux/s390x", ["linux/amd64", "linux/s390x"], "linux/s390x"),
        ("linux/s390x", [], None),
    ],
)
def test_a_node_takes_what_containerd_takes(
    node: str, stated: list[str | None], expected: str | None
) -> None:
    assert taken(node, *stated) == expected


def test_an_entry_without_a_platform_is_the_last_resort() -> None:
    matcher, entries = Matcher(parse_platform("linux/amd64")), [Entry("linux/arm64"), Entry(None), Entry("")]
    assert matcher.best(entries) is entries[1]


def test_this_machine_runs_linux() -> None:
    assert this_platform().os == "linux"
