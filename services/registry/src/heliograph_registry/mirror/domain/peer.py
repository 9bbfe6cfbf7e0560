"""Peers, and a router's answer about who holds a piece of content."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_shared.digest import Digest


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that holds the content; `addresses` are `host:port`, best first.

    `size_bytes` is what its indexer announced for the content, 0 if it is not known. Equal peers may have
    announced different sizes.
    """

    node: str
    addresses: tuple[str, ...]
    size_bytes: int = field(default=0, compare=False)


class Outcome(StrEnum):
    FOUND = "found"
    NOT_FOUND = "not-found"
    NOT_SYNCED = "not-synced"
    GO_UPSTREAM = "go-upstream"


@dataclass(frozen=True, slots=True)
class Resolution:
    """`peers` are best first."""

    outcome: Outcome
    digest: Digest | None = None
    peers: tuple[Peer, ...] = ()

    @property
    def miss_reason(self) -> Reason:
        """The reason to give if there is no peer to ask."""
        match self.outcome:
            case Outcome.FOUND | Outcome.NOT_FOUND:
                return Reason.NOT_FOUND
            case Outcome.NOT_SYNCED:
                return Reason.RESOLVER_UNAVAILABLE
            case Outcome.GO_UPSTREAM:
                return Reason.GO_UPSTREAM
        assert_never(self.outcome)


def without_own_node(
    peers: tuple[Peer, ...], own_node: str, own_addresses: frozenset[str]
) -> tuple[Peer, ...]:
    """The peers other than this node, without this node's addresses; those left without one are dropped."""
    reachable = (
        replace(peer, addresses=tuple(name for name in peer.addresses if name not in own_addresses))
        for peer in peers
        if peer.node != own_node
    )
    return tuple(peer for peer in reachable if peer.addresses)
