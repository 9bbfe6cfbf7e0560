"""Nodes and tags of the cluster, as a router reports them to people."""

from dataclasses import dataclass

from heliograph_shared.digest import Digest


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A live node, possibly this one. `stale`: its lease has expired, and the router keeps it for a while.

    `namesake` are the addresses of a second registry whose indexer has the same node name; None without one.
    """

    node: str
    addresses: tuple[str, ...]
    zone: str
    in_sync: bool
    stale: bool
    lease_left_s: float
    digests: int
    tags: int
    namesake: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ClusterTag:
    """`nodes` is the number of nodes that have the tag."""

    reference: str
    digest: Digest
    nodes: int


@dataclass(frozen=True, slots=True)
class ClusterTags:
    """The first matching tags, ordered by reference; `found` is the number of all matching tags."""

    tags: tuple[ClusterTag, ...]
    found: int
