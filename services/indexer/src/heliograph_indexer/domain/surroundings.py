"""What is around an indexer: clock, addresses, bus, registry, content directory. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

from heliograph_indexer.domain.checks import Check
from heliograph_shared.findings import Finding

_OFF_S, _FAR_OFF_S = 60, 300
_FIRST_RELEASE = datetime(2025, 1, 1, tzinfo=UTC)
_CLOCK_REMEDY = "run a time service on the node, such as chrony, and see `timedatectl` until it is in step"


@dataclass(frozen=True, slots=True)
class BusAnswer:
    """`reason` says why the bus was not reached, empty when it was.

    `ahead_s` is how far this clock is ahead of the server's, None where that was not told. `local` is whether
    the bus is on this machine.
    """

    reason: str = ""
    ahead_s: float | None = None
    local: bool = False


@dataclass(frozen=True, slots=True)
class FolderAnswer:
    """`reason` says why the content directory cannot be read, empty when it can; `absent` is one of these.

    Of `asked` blobs that containerd lists, `found` lie there.
    """

    path: str
    reason: str = ""
    absent: bool = False
    asked: int = 0
    found: int = 0


def examine_bus(servers: Sequence[str], answer: BusAnswer) -> Iterator[Finding]:
    """`servers` are without credentials."""
    if answer.reason:
        yield Finding(
            Check.BUS,
            "error",
            "the bus is not reached, so routers learn nothing of this node",
            f"{', '.join(servers)}: {answer.reason}",
            "set HELIOGRAPH_NATS_URL to the servers' addresses, and let this node reach them: "
            "`nats-server` running, its port open, the credentials right",
        )


def examine_clock(now: datetime, ahead_s: float | None) -> Iterator[Finding]:
    """`ahead_s` is against the bus, None where its time is not known."""
    if now < _FIRST_RELEASE:
        problem = "this node's clock is not set"
        yield Finding(Check.CLOCK, "error", problem, f"it says {now:%Y-%m-%d %H:%M} UTC", _CLOCK_REMEDY)
    elif ahead_s is not None and abs(ahead_s) > _OFF_S:
        way = "ahead of" if ahead_s > 0 else "behind"
        yield Finding(
            Check.CLOCK,
            "error" if ahead_s > _FAR_OFF_S else "warning",
            f"this node's clock is {way} that of the bus; routers refuse a node that is 5 minutes ahead of "
            "them, and of two tags the later one wins",
            f"{abs(ahead_s):.0f} s {way} the NATS server's time",
            _CLOCK_REMEDY,
        )


def examine_latest_tag(now: datetime, latest: tuple[str, datetime] | None) -> Iterator[Finding]:
    """`latest` is the tag of this node that was set last, and when."""
    if latest is not None and (latest[1] - now).total_seconds() > _OFF_S:
        name, tagged_at = latest
        yield Finding(
            Check.CLOCK,
            "warning",
            "this node's clock was set back, or was ahead when it pulled: a tag is from the future",
            f"{name} was tagged at {tagged_at:%Y-%m-%d %H:%M:%S}, now it is {now:%Y-%m-%d %H:%M:%S} UTC",
            _CLOCK_REMEDY,
        )


def examine_address(host: str, *, bus_is_local: bool) -> Iterator[Finding]:
    """`host` is where others are told to find this node's registry: an address, a name passes."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return
    kind = ""
    if address.is_unspecified or address.is_multicast:
        kind = "nobody's"
    elif address.is_loopback and not bus_is_local:
        kind = "this machine's own (loopback)"
    elif address.is_link_local:
        kind = "of one link only (link-local)"
    if kind:
        yield Finding(
            Check.ADDRESS,
            "error",
            f"other nodes are told an address that is {kind}: they cannot fetch from this one",
            f"advertised: {host}",
            "set HELIOGRAPH_ADVERTISE to host:port where the other nodes reach this node's registry",
        )


def examine_folder(answer: FolderAnswer, *, is_made_later: bool = False) -> Iterator[Finding]:
    """`is_made_later`: containerd makes it with its first content."""
    if answer.absent and is_made_later:
        return
    remedy = (
        "set HELIOGRAPH_CONTENT_PATH to the folder that holds containerd's blobs/ (in the cluster: the "
        "volume `content`), readable for the user of the process"
    )
    if answer.reason:
        problem = "the content directory cannot be read"
        yield Finding(Check.CONTENT_PATH, "error", problem, f"{answer.path}: {answer.reason}", remedy)
    elif answer.asked and not answer.found:
        problem = "the content directory is not that of this containerd"
        seen = f"of {answer.asked} blobs that containerd lists none lies in {answer.path}/blobs"
        yield Finding(Check.CONTENT_PATH, "error", problem, seen, remedy)


def registry_not_ready(url: str, reason: str) -> Finding:
    return Finding(
        Check.REGISTRY_READY,
        "error",
        "this node's registry is not ready, so it mirrors nothing and is named to nobody",
        f"{url}: {reason}",
        "see the registry's log: it needs its port free, and a content directory that it can read",
    )


def registry_unreachable(address: str, reason: str) -> Finding:
    return Finding(
        Check.REGISTRY_REACHED,
        "error",
        "this node's registry is not reached at the address that other nodes are told",
        f"{address}: {reason}",
        f"free and open TCP port {address.rpartition(':')[2]} on the node, with a network plugin that does "
        "host ports; or set HELIOGRAPH_ADVERTISE to where the registry is reached",
    )


def containerd_unreachable(store: str, reason: str) -> Finding:
    return Finding(
        Check.CONTAINERD,
        "error",
        "containerd does not answer, so nothing of this node is announced",
        f"{store}: {reason}",
        "set HELIOGRAPH_CONTAINERD_SOCKET to its socket (in the cluster: the volume `containerd`), and see "
        "`systemctl status containerd`",
    )
