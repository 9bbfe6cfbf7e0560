"""Nodes and tags of the cluster, as a router tells them to people."""

from dataclasses import dataclass

from heliograph_shared.digest import Digest


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node that lives, this one too; `stale` when its lease is over and it is only kept for a while."""

    node: str
    addresses: tuple[str, ...]
    zone: str
    in_sync: bool
    stale: bool
    lease_left_s: float
    digests: int
    tags: int


@dataclass(frozen=True, slots=True)
class ClusterTag:
    """`nodes` is how many have the tag."""

    reference: str
    digest: Digest
    nodes: int


@dataclass(frozen=True, slots=True)
class ClusterTags:
    """The first by reference; `found` is how many there are."""

    tags: tuple[ClusterTag, ...]
    found: int
