"""What each reason means to an operator, and how to fix it. Pure."""

from heliograph_registry.mirror.domain.reason import Reason

_ADVICE: dict[Reason, tuple[str, str]] = {
    Reason.NOT_FOUND: (
        "no node that can be reached has it",
        "Nothing is wrong: the first pull in a cluster goes upstream, and then this node has it.",
    ),
    Reason.RESOLVER_UNAVAILABLE: (
        "no router answered, or it is still rebuilding its index",
        "Check that the heliograph-router pods run, and that HELIOGRAPH_ROUTER_TARGET leads to them.",
    ),
    Reason.PEERS_FAILED: (
        "nodes have it, but none of those asked delivered",
        "Check that nodes reach each other's registry port (5000), and the logs of the peers named here.",
    ),
    Reason.TIMEOUT: (
        "no first byte came in time",
        "If it comes again, peers or disks are slow: raise HELIOGRAPH_FIRST_BYTE_TIMEOUT_MS.",
    ),
    Reason.FILTERED: (
        "the settings exclude it",
        "Change HELIOGRAPH_MIRRORED_REGISTRIES or HELIOGRAPH_REGISTRY_FILTERS if it should be mirrored.",
    ),
    Reason.NO_REGISTRY: (
        "the request does not say of which registry the tag is",
        "containerd adds ?ns= by itself; other clients put the registry first in the path.",
    ),
    Reason.NOT_VERIFIED: (
        "it was asked for again, and no peer's bytes had the right digest",
        "A node may have a broken disk: the log names the peers whose bytes were wrong.",
    ),
    Reason.BUSY: (
        "as many transfers are under way as may be",
        "Raise HELIOGRAPH_MAX_TRANSFERS if this node has memory and network to spare.",
    ),
    Reason.NOT_LOCAL: (
        "a peer asked for it, and it is not here",
        "The router knew more than is true for a moment, as after a garbage collection.",
    ),
    Reason.NOT_A_MANIFEST: (
        "it is too large for a manifest",
        "Manifests of more than 4 MiB are not mirrored.",
    ),
    Reason.GO_UPSTREAM: (
        "nobody holds it, and this node was told to fetch it, or has waited long enough",
        "Nothing is wrong: HELIOGRAPH_WAIT_MS is on, and one node has to be the first.",
    ),
    Reason.INVALID: (
        "the request is not one that a registry knows",
        "Check the client's mirror setting: the log has the path that it asked for.",
    ),
    Reason.READ_ONLY: ("the request would change something", "Push to the upstream registry instead."),
    Reason.RANGE_NOT_SATISFIABLE: (
        "the range lies outside of the blob",
        "Nothing to fix: the client asked for bytes beyond the end.",
    ),
    Reason.UNAUTHORIZED: (
        "the request had no valid user and password",
        "Give registry and configurator the same HELIOGRAPH_BASIC_AUTH_FILE: containerd is told its first "
        "account.",
    ),
}


def meaning(reason: Reason) -> str:
    """What follows "not served: "."""
    return _ADVICE[reason][0]


def remedy(reason: Reason) -> str:
    """How to fix it, in a sentence or two."""
    return _ADVICE[reason][1]
