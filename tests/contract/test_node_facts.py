"""What the registry expects to hear of its own node, in memory and from the indexer's state file alike."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from heliograph_registry.adapters.state_file import StateFile
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.node_state import NodeState, write_node_state
from tests.support.fakes.node import MemoryFacts

ONE, TWO = digest_of(b"one"), digest_of(b"two")
TAG, OTHER = "reg.test/app:1", "reg.test/other:2"


@dataclass
class Node:
    """`tell` changes the node's tags and addresses, as its indexer does."""

    facts: MemoryFacts | StateFile
    tell: Callable[[dict[str, Digest], set[str]], None]


@pytest.fixture(params=["memory", "file"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Node:
    if request.param == "memory":
        facts = MemoryFacts()

        def remember(tags: dict[str, Digest], addresses: set[str]) -> None:
            facts.tags, facts.addresses = tags, frozenset(addresses)

        return Node(facts, remember)
    path = tmp_path / "node.json"

    def write(tags: dict[str, Digest], addresses: set[str]) -> None:
        write_node_state(path, NodeState(node="here", addresses=sorted(addresses), tags=tags))

    return Node(StateFile(path), write)


def test_nothing_is_known_before_the_indexer_has_told_anything(node: Node) -> None:
    assert node.facts.digest_of(TAG) is None
    assert node.facts.tags == {}
    assert node.facts.addresses == frozenset()


def test_tags_and_addresses_are_as_told(node: Node) -> None:
    node.tell({TAG: ONE, OTHER: TWO}, {"10.0.0.1:5000", "[fd00::1]:5000"})
    assert (node.facts.digest_of(TAG), node.facts.digest_of(OTHER)) == (ONE, TWO)
    assert node.facts.digest_of("reg.test/app:2") is None
    assert node.facts.tags == {TAG: ONE, OTHER: TWO}
    assert node.facts.addresses == {"10.0.0.1:5000", "[fd00::1]:5000"}


def test_a_change_is_seen_at_the_next_question(node: Node) -> None:
    node.tell({TAG: ONE}, {"10.0.0.1:5000"})
    assert node.facts.digest_of(TAG) == ONE
    node.tell({TAG: TWO}, {"10.0.0.2:5000"})
    assert node.facts.digest_of(TAG) == TWO
    assert node.facts.addresses == {"10.0.0.2:5000"}
    node.tell({}, set())
    assert node.facts.digest_of(TAG) is None


def test_what_was_handed_out_does_not_change(node: Node) -> None:
    node.tell({TAG: ONE}, set())
    before = node.facts.tags
    node.tell({TAG: TWO}, set())
    assert before == {TAG: ONE}
