"""The answer to "Is it working?", in a sentence, and what to do when it is not. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from heliograph_registry.debug.domain.advice import meaning, remedy
from heliograph_registry.debug.domain.formatting import age, count
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.domain.request_log import LoggedRequest
from heliograph_registry.mirror.domain.source import FromPeer


class Level(StrEnum):
    YES = "yes"
    PARTLY = "partly"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`answer` begins with the level's word; `advice` may be empty."""

    level: Level
    answer: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when it is asked.

    `unready` and `no_router` say why, None when all is well; `listed` whether the router names this node to
    others; `peers` are other nodes that can be asked. `pulls` are the last requests of clients, the latest
    first; `errors` is how many grave findings a doctor has.
    """

    unready: str | None
    no_router: str | None
    listed: bool
    peers: int
    pulls: Sequence[LoggedRequest]
    errors: int
    now: float
    uptime_s: float


def verdict(seen: Situation) -> Verdict:
    if seen.unready is not None:
        return Verdict(
            Level.NO,
            f"No: this registry is not ready ({seen.unready}).",
            "containerd goes upstream meanwhile. Check the volume behind HELIOGRAPH_CONTENT_PATH.",
        )
    if seen.no_router is not None:
        return _without_router(seen)
    if not seen.listed:
        return Verdict(
            Level.PARTLY,
            f"Partly: this node can pull from {count(seen.peers, 'peer')}, but the router does not name it "
            "to others.",
            "Its indexer is down, cannot reach the bus, or finds this registry not ready: see its log, and "
            "/readyz on its admin port.",
        )
    if not seen.peers:
        return Verdict(
            Level.PARTLY,
            "Partly: all is up, but no other node is there to pull from.",
            "Nodes appear here once their indexer has reached the bus.",
        )
    judged = _by_pulls(seen)
    if seen.errors and judged.level is Level.YES:
        return Verdict(
            Level.PARTLY,
            f"Partly: the doctor found {count(seen.errors, 'error')} on this node; {_served(seen)}.",
            "What it found, with what mends it, stands below.",
        )
    return judged


def _without_router(seen: Situation) -> Verdict:
    also = f", and what {count(seen.peers, 'peer')} known from before can give" if seen.peers else ""
    return Verdict(
        Level.PARTLY,
        f"Partly: no router answers, so only this node's own content is served{also}.",
        f"{remedy(Reason.RESOLVER_UNAVAILABLE)} It was: {seen.no_router}.",
    )


def _by_pulls(seen: Situation) -> Verdict:
    if not seen.pulls:
        return Verdict(
            Level.PARTLY,
            f"Not yet: {count(seen.peers, 'peer')}, but nobody has pulled through this mirror in the "
            f"{age(seen.uptime_s)} since it started.",
            "Pull an image on this node. If nothing shows here then, containerd does not ask the mirror: "
            "`heliograph-configurator doctor` says why.",
        )
    if any(entry.served for entry in seen.pulls):
        return Verdict(Level.YES, f"Yes: {_served(seen)}.")
    (worst, _), *_others = Counter(entry.reason or Reason.INVALID for entry in seen.pulls).most_common()
    if worst.ordinary:
        return Verdict(
            Level.YES,
            f"Yes, but it was of no use yet: {count(seen.peers, 'peer')}, and of the last "
            f"{count(len(seen.pulls), 'request')} none could be served, mostly because {meaning(worst)}.",
            remedy(worst),
        )
    return Verdict(
        Level.NO,
        f"No: none of the last {count(len(seen.pulls), 'request')} was served, mostly because "
        f"{meaning(worst)}.",
        remedy(worst),
    )


def _served(seen: Situation) -> str:
    """Peers, how many requests were served, and which was the last."""
    peers = count(seen.peers, "peer")
    served = [entry for entry in seen.pulls if entry.served]
    if not served:
        return peers
    asked = len(seen.pulls)
    share = f"{len(served)} of the last {asked} requests"
    if len(served) == asked:
        share = f"all of the last {asked} requests" if asked > 1 else "the only request so far"
    last = served[0]
    place = f"from {last.source.node}" if isinstance(last.source, FromPeer) else "from this node's own store"
    when = f"{age(max(0.0, seen.now - last.at))} ago"
    verb = "was" if len(served) == 1 else "were"
    return f"{peers}, {share} {verb} served in the cluster, last one {when} {place}"
