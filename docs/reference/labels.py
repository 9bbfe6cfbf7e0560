"""The values of labels. The values in backquotes are complete, unless the text says what else bounds them."""

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_router.domain.cluster import Refusal
from heliograph_router.domain.resolution import Status

_OF_ANY_METRIC = {
    "requester": (
        "`client` (the node's containerd, or another client that pulls through it), `peer` (another registry)"
    ),
    "change": "what was done to a folder: `write`, `restore`, `release`",
    "check": "name of the check, as in [doctor.md](doctor.md)",
    "kind": "`manifest`, `blob`, `ping` (`/v2/`), `invalid` (any other request)",
    "limit": (
        "`connections` (too many), `head` (too large), `slow-head`, `slow-body`, `idle` (no request), "
        "`stalled` (the client accepted no bytes)"
    ),
    "registry": (
        "host of the upstream registry; `unknown` if the request does not name one, `other` after the first "
        "50 and for registries that the settings exclude"
    ),
    "severity": "`error`, `warning`",
    "source": "`local` (this node's content), `peer` (another node's), `none` (an error)",
    "stage": "`noticed`, `published`",
    "file": "`basic-auth`, `nats-user`, `tls-client`, `tls-server`",
}


def _all(*names: str) -> str:
    return ", ".join(f"`{name}`" for name in names)


_OF = {
    ("heliograph_file_reloads_total", "outcome"): "`ok`, `failed`",
    ("heliograph_registry_requests_total", "outcome"): (
        "`local` and `peer` (served, from this node or from another one), `missed` (404: goes upstream), "
        "`refused` (another error), `broken` (ended early, because no source was left), `abandoned` (the "
        "client went away, or this registry stopped), `failed` (a defect)"
    ),
    ("heliograph_registry_requests_total", "reason"): (
        f"as in `Heliograph-Reason`: {_all(*Reason)}; `none` if it was served"
    ),
    ("heliograph_registry_sent_bytes_total", "source"): (
        "`local`, `peer`, `resumed` (from another peer, after one failed or was slow), `none` (errors)"
    ),
    ("heliograph_registry_resolve_seconds", "outcome"): (
        "`answered`, `waited` (a call that may wait for another node's copy), `failed`"
    ),
    ("heliograph_registry_router_attempts_total", "outcome"): (
        "`answered`, `outdated` (the replica cannot hear the nodes, or rebuilds its index), `slow` (another "
        "one was faster), `failed`"
    ),
    ("heliograph_registry_peer_requests_total", "outcome"): (
        "`answered`, `absent` (the peer works, but does not have it or is busy), `failed`"
    ),
    (
        "heliograph_registry_verified_blobs_total",
        "outcome",
    ): "`verified`, `mismatch` (the peer sent wrong bytes)",
    ("heliograph_router_messages_total", "kind"): _all("content", "heartbeat", "left", "snapshot"),
    ("heliograph_router_messages_dropped_total", "reason"): _all(*Refusal, "malformed", "wrong_node"),
    ("heliograph_router_nodes", "state"): "`in_sync` (its content is known completely), `syncing`",
    ("heliograph_router_nodes_removed_total", "reason"): "`left` (shut down), `lost` (its lease ended)",
    ("heliograph_router_leases", "state"): "`running`, `frozen`",
    ("heliograph_router_resolves_total", "status"): _all(*(status.name.lower() for status in Status)),
    ("heliograph_router_snapshots_total", "outcome"): "`received`, `failed`",
    ("heliograph_indexer_published_messages_total", "kind"): (
        _all("ContentChanged", "NodeHeartbeat", "NodeLeft", "NodeSnapshot")
    ),
    ("heliograph_indexer_messages_dropped_total", "reason"): (
        "`unsent` (no connection to the bus), `malformed` (received, but not understood)"
    ),
}


def values(metric: str, label: str) -> str:
    """A description of the values; empty if there is none."""
    return _OF.get((metric, label)) or _OF_ANY_METRIC.get(label, "")
