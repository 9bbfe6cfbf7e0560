"""The values that labels take: those in backquotes and no others, unless it says what bounds them."""

from heliograph_registry.mirror.domain.reason import Reason
from heliograph_router.domain.cluster import Refusal
from heliograph_router.domain.resolution import Status

ANYWHERE = {
    "asker": "`client` (the node's containerd, or who else pulls through it), `peer` (another registry)",
    "change": "what became of a folder: `write`, `restore`, `release`",
    "check": "what was looked at, as [doctor.md](doctor.md) calls it",
    "kind": "`manifest`, `blob`, `ping` (`/v2/`), `invalid` (no request that a registry knows)",
    "limit": (
        "`connections` (too many), `head` (too large), `slow-head`, `slow-body`, `idle` (nothing asked), "
        "`stalled` (nothing taken)"
    ),
    "registry": (
        "host of the upstream registry; `unknown` where a request does not say, `other` after the first 50 "
        "and for those that the settings keep out"
    ),
    "severity": "`error`, `warning`",
    "source": "`local` (this node's content), `peer` (another node's), `none` (an error)",
    "stage": "`noticed`, `published`",
    "what": "`basic-auth`, `nats-user`, `tls-client`, `tls-server`",
}


def _all(*names: str) -> str:
    return ", ".join(f"`{name}`" for name in names)


_OF = {
    ("heliograph_reloads_total", "outcome"): "`ok`, `failed`",
    ("heliograph_registry_requests_total", "outcome"): (
        "`local` and `peer` (served, from this node or another one), `missed` (404: left to upstream), "
        "`refused` (another error), `broken` (ended early, no source was left), `abandoned` (the client went "
        "away, or this registry stopped), `failed` (a defect)"
    ),
    ("heliograph_registry_requests_total", "reason"): (
        "as in `Heliograph-Reason`: "
        f"{_all(*Reason, 'unauthorized', 'invalid', 'read-only', 'range-not-satisfiable')}; "
        "`none` for what was served"
    ),
    ("heliograph_registry_sent_bytes_total", "source"): (
        "`local`, `peer`, `resumed` (from another peer, after the first broke off), `none` (errors)"
    ),
    ("heliograph_registry_resolve_seconds", "outcome"): (
        "`answered`, `waited` (a call that may wait for another node's copy), `failed`"
    ),
    ("heliograph_registry_peer_requests_total", "outcome"): (
        "`answered`, `absent` (the peer is well, but has not got it or is busy), `failed`"
    ),
    ("heliograph_registry_verified_blobs_total", "outcome"): "`right`, `wrong` (the peer sent other bytes)",
    ("heliograph_router_messages_total", "kind"): _all("content", "heartbeat", "left", "snapshot"),
    ("heliograph_router_messages_dropped_total", "reason"): _all(*Refusal, "malformed", "wrong_node"),
    ("heliograph_router_nodes", "state"): "`in_sync` (known in full), `syncing`",
    ("heliograph_router_nodes_gone_total", "reason"): "`left` (on purpose), `lost` (its lease ended)",
    ("heliograph_router_leases", "state"): "`running`, `frozen`",
    ("heliograph_router_resolves_total", "status"): _all(*(status.name.lower() for status in Status)),
    ("heliograph_router_snapshots_total", "outcome"): "`received`, `failed`",
    ("heliograph_indexer_published_messages_total", "kind"): (
        _all("ContentChanged", "NodeHeartbeat", "NodeLeft", "NodeSnapshot")
    ),
    ("heliograph_indexer_messages_dropped_total", "reason"): (
        "`unsent` (there was no bus), `malformed` (heard, and not understood)"
    ),
}


def values(metric: str, label: str) -> str:
    """In words; empty where nobody has written them down."""
    return _OF.get((metric, label)) or ANYWHERE.get(label, "")
