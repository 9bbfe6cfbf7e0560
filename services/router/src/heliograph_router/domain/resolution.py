"""The answer to "who has it?"."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from heliograph_router.domain.cluster import Cluster
from heliograph_router.domain.index import Below
from heliograph_router.domain.replica import Replica
from heliograph_router.domain.selection import InDoubt, Reported, Selector
from heliograph_shared.digest import Digest

_CANDIDATES = 64  # of more holders: two choices need few, and a look at thousands would delay others


@dataclass(frozen=True, slots=True)
class ByDigest:
    digest: Digest


@dataclass(frozen=True, slots=True)
class ByTag:
    """`reference` is `registry/repository:tag`."""

    reference: str


@dataclass(frozen=True, slots=True)
class NotAKey:
    """What was asked for is neither."""


Key = ByDigest | ByTag | NotAKey


@dataclass(frozen=True, slots=True)
class Query:
    """`node` is who asks, empty for an outsider; `failed` are nodes that just did not deliver to it."""

    keys: Sequence[Key]
    max_peers: int
    node: str
    zone: str
    failed: frozenset[str]


class Status(Enum):
    FOUND = auto()
    NOT_FOUND = auto()
    NOT_SYNCED = auto()
    GO_UPSTREAM = auto()
    INVALID_KEY = auto()


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that has it, and where its registry is reached."""

    node: str
    incarnation: int
    addresses: tuple[str, ...]
    zone: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """Peers come best first. A tag that is found has a digest even when nobody else holds it."""

    status: Status
    digest: Digest | None = None
    size_bytes: int = 0
    peers: tuple[Peer, ...] = ()


class Directory:
    def __init__(self, cluster: Cluster, selector: Selector, below: Below) -> None:
        self._cluster, self._selector, self._below = cluster, selector, below
        self._reported = Reported()

    def resolve(self, query: Query, now_s: float, *, complete: bool) -> list[Resolution]:
        """One answer for each key, in order; nodes that are in doubt are named last.

        In doubt are those that failed this asker, or a moment ago another one, and those that may be lost.

        Unless the index is `complete`, what it does not know is not said to be nowhere.
        """
        self._reported.report((node for node in query.failed if node != query.node), now_s)
        avoided, stale = self._reported.avoided(now_s), self._cluster.stale

        def in_doubt(node: str) -> bool:
            return node in query.failed or node in avoided or node in stale

        absent = Resolution(Status.NOT_FOUND if complete else Status.NOT_SYNCED)
        return [self._answer(key, query, in_doubt, absent) for key in query.keys]

    def _answer(self, key: Key, query: Query, in_doubt: InDoubt, absent: Resolution) -> Resolution:
        match key:
            case ByDigest(digest=digest):
                found = self._found(digest, query, in_doubt)
                return found if found.peers else absent
            case ByTag(reference=reference):
                tagged = self._cluster.index.digest_of(reference)
                return self._found(tagged, query, in_doubt) if tagged else absent
            case NotAKey():
                return Resolution(Status.INVALID_KEY)
            case _:
                assert_never(key)

    def _found(self, digest: Digest, query: Query, in_doubt: InDoubt) -> Resolution:
        index = self._cluster.index
        chosen = self._chosen(index.some_holders(digest, _CANDIDATES, self._below), query, in_doubt)
        if not chosen:  # none of those drawn could be named: of many others one may
            chosen = self._chosen(index.holders(digest), query, in_doubt)
        peers = tuple(Peer(peer.node, peer.incarnation, peer.addresses, peer.zone) for peer in chosen)
        return Resolution(Status.FOUND, digest, index.size_bytes(digest), peers)

    def _chosen(self, holders: Iterable[str], query: Query, in_doubt: InDoubt) -> list[Replica]:
        replicas = (self._cluster.replica(node) for node in holders if node != query.node)
        return self._selector.choose(
            (replica for replica in replicas if replica.addresses),
            query.max_peers,
            zone=query.zone,
            in_doubt=in_doubt,
        )
