"""Why a request was not served. The same values are in `Heliograph-Reason`, in a metric label and in logs."""

from enum import StrEnum


class Reason(StrEnum):
    """`docs/reasons.md` explains each to an operator."""

    BUSY = "busy"
    FILTERED = "filtered"
    GO_UPSTREAM = "go-upstream"
    INCOMPLETE = "incomplete"
    INVALID = "invalid"
    NO_REGISTRY = "no-registry"
    NOT_A_MANIFEST = "not-a-manifest"
    NOT_FOUND = "not-found"
    NOT_LOCAL = "not-local"
    NOT_VERIFIED = "not-verified"
    OTHER_PLATFORM = "other-platform"
    PEERS_FAILED = "peers-failed"
    RANGE_NOT_SATISFIABLE = "range-not-satisfiable"
    READ_ONLY = "read-only"
    RESOLVER_UNAVAILABLE = "resolver-unavailable"
    TIMEOUT = "timeout"
    UNAUTHORIZED = "unauthorized"
    UNSUPPORTED = "unsupported"

    @property
    def ordinary(self) -> bool:
        """True for misses that are normal in a healthy cluster; containerd goes upstream, as it should."""
        return self in _ORDINARY


_ORDINARY = frozenset(
    {
        Reason.NOT_FOUND,
        Reason.NOT_LOCAL,
        Reason.GO_UPSTREAM,
        Reason.FILTERED,
        Reason.INCOMPLETE,
        Reason.OTHER_PLATFORM,
    }
)
