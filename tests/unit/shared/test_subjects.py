"""A node's name is one token of a subject, whatever is in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_shared import subjects

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(names)
def test_a_name_survives_in_every_subject(name: str) -> None:
    for build in (subjects.content, subjects.node, subjects.snapshot):
        assert subjects.node_of(build(name)) == name


@given(names)
def test_a_name_is_one_token_without_a_meaning_to_nats(name: str) -> None:
    token = subjects.encode(name)
    assert token
    assert not set(token) & set(".*> \t\r\n\0")
    assert subjects.content(name).count(".") == subjects.ALL_CONTENT.count(".")


@given(names, names)
def test_two_names_never_share_a_subject(one: str, other: str) -> None:
    assert (subjects.content(one) == subjects.content(other)) is (one == other)


@pytest.mark.parametrize(
    ("name", "token"),
    [("worker-1", "worker-1"), ("a.b", "a%2Eb"), ("a%2Eb", "a%252Eb"), ("*", "%2A"), ("a >", "a%20%3E")],
)
def test_the_encoding_of_the_contract(name: str, token: str) -> None:
    assert subjects.encode(name) == token


def test_templates_are_a_bounded_set() -> None:
    assert subjects.template_of(subjects.content("n")) == "heliograph.v1.content"
    assert subjects.template_of(subjects.node("a.b")) == "heliograph.v1.node"
    assert subjects.template_of(subjects.snapshot("n")) == "heliograph.v1.snapshot"
    assert subjects.template_of(subjects.HELLO) == subjects.HELLO
