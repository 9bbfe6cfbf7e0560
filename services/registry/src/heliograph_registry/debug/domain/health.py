"""Answers "Is it working?" in a sentence, with advice when something is wrong. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from heliograph_registry.debug.domain.advice import meaning, remedy
from heliograph_registry.debug.domain.formatting import age, count
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.request_log import LoggedRequest


class Level(StrEnum):
    YES = "yes"
    PARTLY = "partly"
    NO = "no"


class HealthCode(StrEnum):
    """Which of the possible answers a verdict gives."""

    NOT_READY = "not-ready"
    NO_ROUTER = "no-router"
    NOT_LISTED = "not-listed"
    NAME_SHARED = "name-shared"
    NO_PEERS = "no-peers"
    NO_PULLS = "no-pulls"
    SERVED = "served"
    MISSES_ONLY = "misses-only"
    """No request was served, mostly for an ordinary reason."""
    FAILING = "failing"
    DOCTOR_ERRORS = "doctor-errors"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`advice` says what to do; it may be empty."""

    level: Level
    code: HealthCode
    answer: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class HealthInputs:
    """What the verdict is based on.

    `unready` says why this registry is not ready, `router_error` why no router answers; both are None when
    all is well. `listed`: the router offers this node to others. `peers` is the number of other nodes that
    can be asked. `pulls` are the last requests of clients, latest first. `errors` is the number of findings
    of severity "error". `now` is in seconds since the epoch. `sharing_name` are the addresses of both
    registries whose indexers have this node's name; empty if no other has it.
    """

    unready: str | None
    router_error: str | None
    listed: bool
    peers: int
    pulls: Sequence[LoggedRequest]
    errors: int
    now: float
    uptime_s: float
    sharing_name: Sequence[str] = ()


def verdict(inputs: HealthInputs) -> Verdict:
    if inputs.unready is not None:
        return Verdict(
            Level.NO,
            HealthCode.NOT_READY,
            f"No: this registry is not ready ({inputs.unready}).",
            "containerd pulls from upstream meanwhile. Check the volume behind HELIOGRAPH_CONTENT_PATH.",
        )
    if inputs.router_error is not None:
        return _without_router(inputs, inputs.router_error)
    if not inputs.listed:
        return Verdict(
            Level.PARTLY,
            HealthCode.NOT_LISTED,
            f"Partly: this node can pull from {count(inputs.peers, 'peer')}, but the router does not offer "
            "it to other nodes.",
            "Its indexer is down, cannot reach the bus, or sees this registry as not ready. Check the "
            "indexer's log, and /readyz on its admin port.",
        )
    if inputs.sharing_name:
        return Verdict(
            Level.PARTLY,
            HealthCode.NAME_SHARED,
            "Partly: two indexers have this node's name, and other nodes find the content of only one.",
            f"Their registries are at {' and '.join(inputs.sharing_name)}. Set HELIOGRAPH_NODE_NAME of each "
            "to a name of its own, and run one indexer for each node.",
        )
    if not inputs.peers:
        return Verdict(
            Level.PARTLY,
            HealthCode.NO_PEERS,
            "Partly: all services are up, but there is no other node to pull from.",
            "Nodes appear here once their indexer has connected to the bus.",
        )
    judged = _by_pulls(inputs)
    if inputs.errors and judged.level is Level.YES:
        return Verdict(
            Level.PARTLY,
            HealthCode.DOCTOR_ERRORS,
            f"Partly: the doctor found {count(inputs.errors, 'error')} on this node; {_served(inputs)}.",
            "The findings below say how to fix them.",
        )
    return judged


def _without_router(inputs: HealthInputs, error: str) -> Verdict:
    also = f" and of {count(inputs.peers, 'remembered peer')}" if inputs.peers else ""
    return Verdict(
        Level.PARTLY,
        HealthCode.NO_ROUTER,
        f"Partly: no router answers, so only content of this node{also} is served.",
        f"{remedy(Reason.RESOLVER_UNAVAILABLE)} The error was: {error}.",
    )


def _by_pulls(inputs: HealthInputs) -> Verdict:
    peers = count(inputs.peers, "peer")
    if not inputs.pulls:
        return Verdict(
            Level.PARTLY,
            HealthCode.NO_PULLS,
            f"Not yet: {peers}, but no client has pulled through this mirror since it started "
            f"{age(inputs.uptime_s)} ago.",
            "Pull an image on this node. If no request appears here, containerd does not use the mirror: "
            "`heliograph-configurator doctor` says why.",
        )
    if any(entry.served for entry in inputs.pulls):
        return Verdict(Level.YES, HealthCode.SERVED, f"Yes: {_served(inputs)}.")
    (commonest, _), *_others = Counter(entry.reason or Reason.INVALID for entry in inputs.pulls).most_common()
    asked = len(inputs.pulls)
    if asked == 1:
        unserved = f"the only request so far was not served, because {meaning(commonest)}"
    else:
        unserved = f"none of the last {asked} requests was served, mostly because {meaning(commonest)}"
    if commonest.ordinary:
        return Verdict(
            Level.YES,
            HealthCode.MISSES_ONLY,
            f"Working, but nothing served yet: {peers}; {unserved}.",
            remedy(commonest),
        )
    return Verdict(Level.NO, HealthCode.FAILING, f"No: {unserved}.", remedy(commonest))


def _served(inputs: HealthInputs) -> str:
    """The number of peers, how many requests were served, and when and from where the last one was."""
    peers = count(inputs.peers, "peer")
    served = [entry for entry in inputs.pulls if entry.served]
    if not served:
        return peers
    asked = len(inputs.pulls)
    share = f"{len(served)} of the last {asked} requests"
    if len(served) == asked:
        share = f"all of the last {asked} requests" if asked > 1 else "the only request so far"
    last = served[0]
    senders = " and ".join(node for node, _ in last.senders)
    source = f"from {senders}" if senders else "from this node's own store"
    when = f"{age(max(0.0, inputs.now - last.at))} ago"
    verb = "was" if len(served) == 1 else "were"
    return f"{peers}; {share} {verb} served in the cluster, the last one {when} {source}"
