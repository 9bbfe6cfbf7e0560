"""What each reason means to an operator, and how to fix it. Pure."""

from heliograph_registry.mirror.domain.reason import Reason

_ADVICE: dict[Reason, tuple[str, str]] = {
    Reason.NOT_FOUND: (
        "no reachable node has it",
        "Nothing to fix: the first pull in a cluster goes upstream; after it this node has the image.",
    ),
    Reason.RESOLVER_UNAVAILABLE: (
        "no router answered, or the router is still rebuilding its index",
        "Check that the heliograph-router pods run, and that HELIOGRAPH_ROUTER_TARGET points to them.",
    ),
    Reason.PEERS_FAILED: (
        "nodes have it, but none of the peers asked delivered it",
        "Check that nodes reach each other's registry port (5000), and the logs of the peers named here.",
    ),
    Reason.TIMEOUT: (
        "the first byte did not come in time",
        "If this repeats, peers or disks are slow: raise HELIOGRAPH_FIRST_BYTE_TIMEOUT_MS.",
    ),
    Reason.FILTERED: (
        "the settings exclude it",
        "To mirror it, change HELIOGRAPH_MIRRORED_REGISTRIES or HELIOGRAPH_REGISTRY_FILTERS.",
    ),
    Reason.NO_REGISTRY: (
        "the request does not say which registry the tag belongs to",
        "containerd adds ?ns= by itself; other clients put the registry first in the path.",
    ),
    Reason.NOT_VERIFIED: (
        "it was requested again, and no peer's bytes had the right digest",
        "A node may have a broken disk: the log names the peers that sent wrong bytes.",
    ),
    Reason.BUSY: (
        "the limit of concurrent transfers is reached",
        "If this node has memory and network to spare, raise HELIOGRAPH_MAX_TRANSFERS.",
    ),
    Reason.NOT_LOCAL: (
        "a peer requested it, and this node does not have it",
        "Nothing to fix: the router's index was out of date for a moment, as after a garbage collection.",
    ),
    Reason.NOT_A_MANIFEST: (
        "it is too large for a manifest",
        "Manifests larger than 4 MiB are not mirrored.",
    ),
    Reason.GO_UPSTREAM: (
        "no node has it, and this node was chosen to fetch it, or its wait ran out",
        "Nothing to fix: HELIOGRAPH_WAIT_MS is set, and one node has to fetch it first.",
    ),
    Reason.INCOMPLETE: (
        "the cluster does not hold everything that this node needs of the image",
        "Nothing to fix if it passes: another node is still pulling. If not, a node has discarded the layers "
        "(discard_unpacked_layers), or has imported an image without them.",
    ),
    Reason.OTHER_PLATFORM: (
        "the tag's digest has no image for this node's platform in the cluster",
        "Nothing to fix: upstream has it, or nobody. If the platform is wrong, set HELIOGRAPH_PLATFORM.",
    ),
    Reason.INVALID: (
        "the request is malformed",
        "Check the client's mirror setting: the log has the path that was requested.",
    ),
    Reason.UNSUPPORTED: (
        "a mirror serves manifests and blobs, but no lists of tags, no referrers and nothing else",
        "Nothing to fix if the client then asks the upstream registry: the log has the path.",
    ),
    Reason.READ_ONLY: (
        "the request would change something",
        "Push to the upstream registry instead.",
    ),
    Reason.RANGE_NOT_SATISFIABLE: (
        "the requested range is outside the blob",
        "Nothing to fix: the client requested bytes beyond the end.",
    ),
    Reason.UNAUTHORIZED: (
        "the request had no valid user and password",
        "Give registry and configurator the same HELIOGRAPH_BASIC_AUTH_FILE: the configurator gives its "
        "first account to containerd.",
    ),
}


def meaning(reason: Reason) -> str:
    """A clause that can follow "because"."""
    return _ADVICE[reason][0]


def remedy(reason: Reason) -> str:
    """How to fix it, in a sentence or two."""
    return _ADVICE[reason][1]
