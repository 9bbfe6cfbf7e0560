"""The answer to "which nodes hold this?"."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from heliograph_router.domain.cluster import Cluster
from heliograph_router.domain.index import RandomBelow
from heliograph_router.domain.replica import Replica
from heliograph_router.domain.selection import FailureReports, IsSuspect, Selector
from heliograph_shared.digest import Digest

_MAX_CANDIDATES = 64  # two random choices need few, and looking at thousands would delay other calls


@dataclass(frozen=True, slots=True)
class ByDigest:
    digest: Digest


@dataclass(frozen=True, slots=True)
class ByTag:
    """`reference` is `registry/repository:tag`."""

    reference: str


@dataclass(frozen=True, slots=True)
class NotAKey:
    """Neither a valid digest nor a valid tag reference."""


Key = ByDigest | ByTag | NotAKey


@dataclass(frozen=True, slots=True)
class Query:
    """`node` is the asker, empty if it is no node; `failed` are nodes that just failed to deliver to it."""

    keys: Sequence[Key]
    max_holders: int
    node: str
    zone: str
    failed: frozenset[str]


class Status(Enum):
    """As in the gRPC API."""

    FOUND = auto()
    NOT_FOUND = auto()
    NOT_SYNCED = auto()
    GO_UPSTREAM = auto()
    INVALID_KEY = auto()


@dataclass(frozen=True, slots=True)
class Holder:
    """A node that holds the content, the size it states, and the addresses of its registry."""

    node: str
    incarnation: int
    addresses: tuple[str, ...]
    zone: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """The best holder comes first. A tag that is found has a digest even if nobody but the asker holds it.

    `size_bytes` is 0 if it is not known, or if the holders state different sizes.
    """

    status: Status
    digest: Digest | None = None
    size_bytes: int = 0
    holders: tuple[Holder, ...] = ()


class KeyResolver:
    def __init__(self, cluster: Cluster, selector: Selector, random_below: RandomBelow) -> None:
        self._cluster, self._selector, self._random_below = cluster, selector, random_below
        self._failure_reports = FailureReports()

    def resolve(self, query: Query, now_s: float, *, complete: bool) -> list[KeyAnswer]:
        """One answer for each key, in order. The asker itself is never named.

        Suspects are named late: nodes that recently failed another asker, stale ones, and those that state
        another size than most holders. Nodes that failed this asker come after them. Unless the index is
        `complete`, a miss is `NOT_SYNCED` instead of `NOT_FOUND`.
        """
        self._failure_reports.report((node for node in query.failed if node != query.node), now_s)
        reported, stale = self._failure_reports.suspects(now_s), self._cluster.stale

        def is_suspect(node: str) -> bool:
            return node in reported or node in stale

        miss = KeyAnswer(Status.NOT_FOUND if complete else Status.NOT_SYNCED)
        return [self._answer(key, query, is_suspect, miss) for key in query.keys]

    def _answer(self, key: Key, query: Query, is_suspect: IsSuspect, miss: KeyAnswer) -> KeyAnswer:
        match key:
            case ByDigest(digest=digest):
                found = self._found(digest, query, is_suspect)
                return found if found.holders else miss
            case ByTag(reference=reference):
                tagged = self._cluster.index.digest_of(reference)
                return self._found(tagged, query, is_suspect) if tagged else miss
            case NotAKey():
                return KeyAnswer(Status.INVALID_KEY)
            case _:
                assert_never(key)

    def _found(self, digest: Digest, query: Query, is_suspect: IsSuspect) -> KeyAnswer:
        index = self._cluster.index
        common_bytes = index.size_bytes(digest)

        def is_unlikely(node: str) -> bool:
            return is_suspect(node) or index.size_on(node, digest) != common_bytes

        sample = index.some_holders(digest, _MAX_CANDIDATES, self._random_below)
        chosen = self._choose(sample, query, is_unlikely)
        if not chosen:  # nobody in the sample can be named, but another holder may be
            chosen = self._choose(index.holders(digest), query, is_unlikely)
        holders = tuple(
            Holder(
                replica.node,
                replica.incarnation,
                replica.addresses,
                replica.zone,
                index.size_on(replica.node, digest),
            )
            for replica in chosen
        )
        agree = all(holder.size_bytes == common_bytes for holder in holders)
        return KeyAnswer(Status.FOUND, digest, common_bytes if agree else 0, holders)

    def _choose(self, nodes: Iterable[str], query: Query, is_suspect: IsSuspect) -> list[Replica]:
        replicas = (self._cluster.replica(node) for node in nodes if node != query.node)
        return self._selector.choose(
            (replica for replica in replicas if replica.addresses),
            query.max_holders,
            zone=query.zone,
            is_suspect=is_suspect,
            failed=query.failed,
        )
