"""A test pull says whether the mirror was asked, and leaves only what was there before."""

from collections.abc import Sequence

import pytest

from heliograph_indexer import pull_probe
from heliograph_indexer.domain.missing_layers import ImageRecord
from heliograph_indexer.pull_probe import probe_pull
from heliograph_shared.findings import Finding, Unchecked
from heliograph_shared.reference import parse_reference
from tests.unit.indexer.examined_node import MemoryContainerd, MemoryRegistry

NAME = "reg.test/team/app:v1"
OTHER = ImageRecord("reg.test/team/other:v1", "sha256:other", 1)


class Node:
    """containerd with a registry that it asks before upstream."""

    def __init__(self) -> None:
        self.registry, self.containerd = MemoryRegistry(), MemoryContainerd()
        self.containerd.registry = self.registry
        self.containerd.records = [OTHER]
        self.containerd.upstream = {NAME: "sha256:pulled"}

    async def probe(self, *, mirrored: bool = True) -> Sequence[Finding | Unchecked]:
        return await probe_pull(self.containerd.open, self.registry, parse_reference(NAME), mirrored=mirrored)

    def names(self) -> set[str]:
        return {record.name for record in self.containerd.records}


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(pull_probe, "_COUNTED_WITHIN_S", 0.03)
    monkeypatch.setattr(pull_probe, "_POLL_S", 0.01)
    return Node()


async def test_a_pull_by_the_mirror_has_no_findings_and_leaves_nothing(node: Node) -> None:
    assert list(await node.probe()) == []
    assert node.names() == {OTHER.name}


async def test_a_name_that_was_there_before_stays(node: Node) -> None:
    node.containerd.records.append(ImageRecord(NAME, "sha256:before", 1))
    assert list(await node.probe()) == []
    assert NAME in node.names()


async def test_a_pull_past_the_mirror_is_an_error(node: Node) -> None:
    node.containerd.registry = None
    (finding,) = await node.probe()
    assert isinstance(finding, Finding)
    assert (finding.check, finding.severity) == ("mirror-not-asked", "error")
    assert node.names() == {OTHER.name}


async def test_a_pull_that_fails_is_an_error(node: Node) -> None:
    node.containerd.upstream = {}
    (finding,) = await node.probe()
    assert isinstance(finding, Finding)
    assert (finding.check, finding.severity) == ("probe-pull", "error")
    assert "NOT_FOUND" in finding.seen


async def test_without_a_count_of_requests_or_a_mirror_the_mirror_is_unchecked(node: Node) -> None:
    (excluded,) = await node.probe(mirrored=False)
    node.registry.counts = False
    (uncounted,) = await node.probe()
    for unchecked in (excluded, uncounted):
        assert isinstance(unchecked, Unchecked)
        assert unchecked.check == "mirror-not-asked"
    assert node.names() == {OTHER.name}


async def test_a_containerd_that_is_gone_is_an_error(node: Node) -> None:
    node.containerd.available = False
    (finding,) = await node.probe()
    assert finding.check == "containerd-unreachable"
