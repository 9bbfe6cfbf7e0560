"""Checks of what the indexer depends on: clock, address, bus, registry, content directory. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

from heliograph_indexer.domain.checks import IndexerCheck
from heliograph_shared.findings import Finding

_WARN_OFFSET_S, _ERROR_OFFSET_S = 60, 300
_FIRST_RELEASE = datetime(2025, 1, 1, tzinfo=UTC)
_CLOCK_REMEDY = (
    "run a time service such as chrony on the node, and check with `timedatectl` that it is in sync"
)


@dataclass(frozen=True, slots=True)
class BusStatus:
    """`reason` says why the bus was not reached; empty if it was.

    `ahead_s` is how far this clock is ahead of the server's, None if unknown. `local` is whether the bus runs
    on this machine.
    """

    reason: str = ""
    ahead_s: float | None = None
    local: bool = False


@dataclass(frozen=True, slots=True)
class ContentDirectoryStatus:
    """`reason` says why the content directory cannot be read; empty if it can. `absent`: it does not exist.

    Of `sampled` blobs that containerd lists, `found` lie in it.
    """

    path: str
    reason: str = ""
    absent: bool = False
    sampled: int = 0
    found: int = 0


def examine_bus(servers: Sequence[str], status: BusStatus) -> Iterator[Finding]:
    """`servers` are URLs without credentials."""
    if status.reason:
        yield Finding(
            IndexerCheck.BUS,
            "error",
            "the bus cannot be reached, so routers learn nothing about this node",
            f"{', '.join(servers)}: {status.reason}",
            "set HELIOGRAPH_NATS_URL to the addresses of the NATS servers, and make sure that `nats-server` "
            "runs, that this node can connect to its port, and that the credentials are right",
        )


def examine_clock(now: datetime, ahead_s: float | None) -> Iterator[Finding]:
    """`ahead_s` is relative to the bus; None if unknown."""
    if now < _FIRST_RELEASE:
        problem = "this node's clock is not set"
        seen = f"it shows {now:%Y-%m-%d %H:%M} UTC"
        yield Finding(IndexerCheck.CLOCK, "error", problem, seen, _CLOCK_REMEDY)
    elif ahead_s is not None and abs(ahead_s) > _WARN_OFFSET_S:
        direction = "ahead of" if ahead_s > 0 else "behind"
        yield Finding(
            IndexerCheck.CLOCK,
            "error" if ahead_s > _ERROR_OFFSET_S else "warning",
            f"this node's clock is {direction} the clock of the bus; routers refuse a node whose clock is 5 "
            "minutes ahead of theirs, and of two nodes' times for a tag the later one wins",
            f"{abs(ahead_s):.0f} s {direction} the NATS server's time",
            _CLOCK_REMEDY,
        )


def examine_latest_tag(now: datetime, latest: tuple[str, datetime] | None) -> Iterator[Finding]:
    """`latest` is the tag of this node that was set last, and when."""
    if latest is not None and (latest[1] - now).total_seconds() > _WARN_OFFSET_S:
        name, tagged_at = latest
        yield Finding(
            IndexerCheck.CLOCK,
            "warning",
            "a tag of this node is from the future: the clock was set back since, or was ahead at the pull",
            f"{name} was tagged at {tagged_at:%Y-%m-%d %H:%M:%S}, now it is {now:%Y-%m-%d %H:%M:%S} UTC",
            _CLOCK_REMEDY,
        )


def examine_address(host: str, *, bus_is_local: bool) -> Iterator[Finding]:
    """`host` is the advertised host of this node's registry; names are not checked."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return
    kind = ""
    if address.is_unspecified:
        kind = "unspecified"
    elif address.is_multicast:
        kind = "multicast"
    elif address.is_loopback and not bus_is_local:
        kind = "loopback"
    elif address.is_link_local:
        kind = "link-local"
    if kind:
        yield Finding(
            IndexerCheck.ADDRESS,
            "error",
            f"the advertised address is {kind}, so other nodes cannot fetch from this one",
            f"advertised: {host}",
            "set HELIOGRAPH_ADVERTISE to host:port where other nodes reach this node's registry",
        )


def examine_content_directory(
    status: ContentDirectoryStatus, *, may_be_absent: bool = False
) -> Iterator[Finding]:
    """`may_be_absent`: containerd has no content yet, and creates the directory with the first."""
    if status.absent and may_be_absent:
        return
    remedy = (
        "set HELIOGRAPH_CONTENT_PATH to the directory that contains containerd's blobs/ (in the cluster: the "
        "volume `content`), and let this process's user read it"
    )
    if status.reason:
        problem = "the content directory cannot be read"
        yield Finding(IndexerCheck.CONTENT_PATH, "error", problem, f"{status.path}: {status.reason}", remedy)
    elif status.sampled and not status.found:
        problem = "the content directory belongs to another containerd"
        seen = f"of {status.sampled} blobs that containerd lists, none is in {status.path}/blobs"
        yield Finding(IndexerCheck.CONTENT_PATH, "error", problem, seen, remedy)


def registry_not_ready(url: str, reason: str) -> Finding:
    return Finding(
        IndexerCheck.REGISTRY_READY,
        "error",
        "this node's registry is not ready: it mirrors nothing, and its addresses are not advertised",
        f"{url}: {reason}",
        "see the registry's log: its port must be free, and it must be able to read the content directory",
    )


def registry_unreachable(address: str, reason: str) -> Finding:
    return Finding(
        IndexerCheck.REGISTRY_REACHED,
        "error",
        "this node's registry cannot be reached at its advertised address",
        f"{address}: {reason}",
        f"make TCP port {address.rpartition(':')[2]} of the node free and open (the network plugin must "
        "support host ports), or set HELIOGRAPH_ADVERTISE to an address where the registry can be reached",
    )


def containerd_unreachable(store: str, reason: str) -> Finding:
    return Finding(
        IndexerCheck.CONTAINERD,
        "error",
        "containerd does not answer, so this node's content is not announced",
        f"{store}: {reason}",
        "set HELIOGRAPH_CONTAINERD_SOCKET to its socket (in the cluster: the volume `containerd`), and check "
        "`systemctl status containerd`",
    )
