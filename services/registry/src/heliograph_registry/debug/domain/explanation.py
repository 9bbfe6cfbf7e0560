"""Explains why an image is served as it is: the results of lookups in, sentences for an operator out.

Pure: `why.py` does the lookups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from heliograph_registry.debug.domain.advice import meaning, remedy
from heliograph_registry.debug.domain.formatting import age, count, joined, short
from heliograph_registry.mirror.domain.peer import Outcome
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_shared.digest import Digest
from heliograph_shared.filters import Exclusion
from heliograph_shared.image import ImagePart, Kind


class Tone(StrEnum):
    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


class AnswerCode(StrEnum):
    """Which of the possible answers an explanation gives."""

    OWN_STORE = "own-store"
    CLUSTER = "cluster"
    PARTLY = "partly"
    PARTLY_UNKNOWN = "partly-unknown"
    TAG_REFUSED = "tag-refused"
    EXCLUDED = "excluded"
    NO_ROUTER = "no-router"
    NOT_SYNCED = "not-synced"
    NO_TAG = "no-tag"
    NO_MANIFEST = "no-manifest"


class StepCode(StrEnum):
    """What a step found. Each title has codes of its own."""

    ADMITTED = "admitted"
    IMAGE_EXCLUDED = "image-excluded"
    TAG_EXCLUDED = "tag-excluded"
    TAG_SAME_HERE = "tag-same-here"
    TAG_DIFFERS_HERE = "tag-differs-here"
    TAG_ELSEWHERE = "tag-elsewhere"
    TAG_ONLY_HERE = "tag-only-here"
    TAG_UNCONFIRMED = "tag-unconfirmed"
    TAG_NOWHERE = "tag-nowhere"
    TAG_UNKNOWN = "tag-unknown"
    TAG_REFUSED = "tag-refused"
    MANIFEST_READ = "manifest-read"
    MANIFEST_UNAVAILABLE = "manifest-unavailable"
    LAYERS_MISSING = "layers-missing"
    ROUTER_ANSWERS = "router-answers"
    ROUTER_UNAVAILABLE = "router-unavailable"
    PEERS_ASKED_LAST = "peers-asked-last"
    LIMITS = "limits"
    LIMIT_REACHED = "limit-reached"


@dataclass(frozen=True, slots=True)
class PeerCandidate:
    """A peer that this node could ask.

    `asked_last_s` is for how many more seconds it is asked only after others, 0 for a peer in good standing.
    `tried`: it is among the first peers, as many as are tried for one request.
    """

    node: str
    addresses: tuple[str, ...]
    asked_last_s: float
    tried: bool


@dataclass(frozen=True, slots=True)
class PartLocation:
    """Where a part of an image is.

    `here`: this node's own store has it. `holders` are other nodes. `candidates` are the peers that this node
    would ask, in that order. `known` is false when no router could tell who holds the part.
    """

    part: ImagePart
    here: bool
    holders: tuple[str, ...]
    candidates: tuple[PeerCandidate, ...]
    known: bool = True

    @property
    def why_no_candidates(self) -> str:
        if not self.known:
            return "not known: no router answered"
        if self.holders:
            return "not served: its holders have no address to ask"
        return "404: no node has it, containerd goes upstream"


@dataclass(frozen=True, slots=True)
class TagLookup:
    """What a tag points to: `routed` in the cluster by the router, `own` on this node by its indexer."""

    outcome: Outcome
    routed: Digest | None
    own: Digest | None


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """What decides besides the image: settings, and the current state of routers and peers.

    `router_error` says why no router answers, None when one does. `breaker_open_s` is for how many more
    seconds no router is asked. `remembered` are peers that are asked directly while no router answers.
    """

    router_error: str | None
    breaker_open_s: float
    remembered: tuple[str, ...]
    peer_dns: bool
    attempts: int
    wait_ms: int
    first_byte_ms: int
    transfers: int
    max_transfers: int


@dataclass(frozen=True, slots=True)
class ImageLookup:
    """All that was looked up for an image.

    `by_tag` and `by_digest` are the settings that exclude requests by tag or by digest, None when none does.
    `tag` is None for an image named by its digest. `manifest_error` says why the manifest cannot be read;
    otherwise `parts` are manifests, config and layers. `tag_refused` says why the tag is not answered,
    although its manifest can be read.
    """

    reference: str
    by_tag: Exclusion | None
    by_digest: Exclusion | None
    tag: TagLookup | None
    digest: Digest | None
    manifest_error: Reason | None
    parts: tuple[PartLocation, ...]
    status: MirrorStatus
    tag_refused: Reason | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that decides; `remedy` says how to fix it, and is empty when there is nothing to fix."""

    title: str
    code: StepCode
    tone: Tone
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    reference: str
    code: AnswerCode
    tone: Tone
    answer: str
    steps: tuple[Step, ...]
    parts: tuple[PartLocation, ...]


def explanation_of(lookup: ImageLookup) -> Explanation:
    code, tone, answer = _answer(lookup)
    steps = (
        _settings(lookup),
        *_tag(lookup.tag),
        *_tag_refused(lookup.tag_refused),
        *_manifest(lookup),
        *_layers(lookup.parts),
        _router(lookup.status),
        *_peers(lookup.parts),
        _limits(lookup.status),
    )
    return Explanation(lookup.reference, code, tone, answer, steps, lookup.parts)


def _answer(lookup: ImageLookup) -> tuple[AnswerCode, Tone, str]:
    exclusion = lookup.by_tag or lookup.by_digest
    if exclusion is not None:
        what = "this tag" if lookup.by_digest is None else "this image"
        text = f"Not mirrored: {exclusion.setting} excludes {what}, so containerd goes upstream."
        return AnswerCode.EXCLUDED, Tone.BAD, text
    if lookup.digest is None:
        if lookup.status.router_error is not None:
            text = "Not served: no router answers, and neither this node nor a peer it remembers has the tag."
            return AnswerCode.NO_ROUTER, Tone.BAD, text
        if lookup.tag is not None and lookup.tag.outcome is Outcome.NOT_SYNCED:
            text = "Not served yet: the router is still rebuilding its index."
            return AnswerCode.NOT_SYNCED, Tone.BAD, text
        text = "Not in the cluster: no node has this tag, so the first pull goes upstream."
        return AnswerCode.NO_TAG, Tone.NOTE, text
    if lookup.manifest_error is not None:
        text = f"Not served: its manifest cannot be read, because {meaning(lookup.manifest_error)}."
        return AnswerCode.NO_MANIFEST, Tone.BAD, text
    if lookup.tag_refused is not None:
        served = sum(1 for location in lookup.parts if location.here or location.candidates)
        text = (
            f"Left to upstream: the tag is not answered, because {meaning(lookup.tag_refused)}. Requests by "
            f"digest are served for {served} of {count(len(lookup.parts), 'part')}."
        )
        return AnswerCode.TAG_REFUSED, Tone.NOTE, text
    return _answer_by_parts(lookup.parts)


def _answer_by_parts(parts: Sequence[PartLocation]) -> tuple[AnswerCode, Tone, str]:
    here = [location for location in parts if location.here]
    away = [location for location in parts if not location.here and location.candidates]
    missing = [location for location in parts if not location.here and not location.candidates]
    whole = count(len(parts), "part")
    if len(here) == len(parts):
        return AnswerCode.OWN_STORE, Tone.GOOD, f"Served from this node's own store: it has all {whole}."
    if not missing:
        first = joined(list(dict.fromkeys(location.candidates[0].node for location in away)))
        own = f" {len(here)} from this node's own store, the others" if here else ""
        text = f"Served in the cluster: all {whole},{own} requested first from {first}."
        return AnswerCode.CLUSTER, Tone.GOOD, text
    if not all(location.known for location in missing):
        text = (
            f"Served in part: this node's own store has {len(here)} of {whole}. Which nodes have the rest is "
            "not known, because no router answers."
        )
        return AnswerCode.PARTLY_UNKNOWN, Tone.BAD, text
    text = (
        f"Served in part: {len(here) + len(away)} of {whole}. No node can serve the other {len(missing)}, so "
        "containerd pulls them from upstream."
    )
    return AnswerCode.PARTLY, Tone.NOTE, text


def _settings(lookup: ImageLookup) -> Step:
    title = "Settings"
    exclusion = lookup.by_tag or lookup.by_digest
    if exclusion is None:
        text = "Neither the list of mirrored registries nor a filter excludes it."
        return Step(title, StepCode.ADMITTED, Tone.GOOD, text)
    if exclusion.setting == "HELIOGRAPH_MIRRORED_REGISTRIES":
        text = f"{exclusion.setting} is set and does not list {exclusion.entry}."
        fix = f"Add {exclusion.entry} to it, or empty it to mirror all registries"
    else:
        text = f"The expression `{exclusion.entry}` of {exclusion.setting} matches its name."
        fix = "Change the expression to mirror the image"
    code = StepCode.IMAGE_EXCLUDED
    if lookup.by_digest is None:
        code = StepCode.TAG_EXCLUDED
        text += " It excludes only the tag: requests by digest are served."
    text += " Excluded requests are answered 404 (filtered)."
    return Step(title, code, Tone.BAD, text, f"{fix}, for indexer, registry and configurator alike.")


def _tag(tag: TagLookup | None) -> list[Step]:
    if tag is None:
        return []
    code, tone, text, fix = _routed_tag(tag, tag.routed) if tag.routed is not None else _unrouted_tag(tag)
    return [Step("Tag", code, tone, text, fix)]


def _tag_refused(reason: Reason | None) -> list[Step]:
    if reason is None:
        return []
    text = f"The tag is answered 404 ({reason.value}): {meaning(reason)}."
    return [Step("Answer to the tag", StepCode.TAG_REFUSED, Tone.NOTE, text, remedy(reason))]


def _routed_tag(tag: TagLookup, routed: Digest) -> tuple[StepCode, Tone, str, str]:
    text = f"In the cluster it points to {short(routed)}."
    if tag.own is None:
        return StepCode.TAG_ELSEWHERE, Tone.GOOD, f"{text} This node does not have the tag.", ""
    if tag.own == routed:
        return StepCode.TAG_SAME_HERE, Tone.GOOD, f"{text} On this node, too.", ""
    text += (
        f" On this node it still points to {short(tag.own)}. When nodes differ, the router picks the digest "
        "that appeared under this tag most recently."
    )
    return StepCode.TAG_DIFFERS_HERE, Tone.NOTE, text, ""


def _unrouted_tag(tag: TagLookup) -> tuple[StepCode, Tone, str, str]:
    synced = tag.outcome is not Outcome.NOT_SYNCED
    if tag.own is not None:
        text = f"On this node it points to {short(tag.own)}. "
        if synced:
            return StepCode.TAG_ONLY_HERE, Tone.NOTE, f"{text}The router does not know the tag.", ""
        text += "No router says where it points elsewhere."
        return StepCode.TAG_UNCONFIRMED, Tone.NOTE, text, ""
    if not synced:
        reason = Reason.RESOLVER_UNAVAILABLE
        return StepCode.TAG_UNKNOWN, Tone.BAD, f"Not known: {meaning(reason)}.", remedy(reason)
    text = (
        "No node has it. Nodes announce neither tags that a filter excludes nor images that they know only "
        "by digest."
    )
    fix = "Pull it once on any node; a second later the other nodes can get it from there."
    return StepCode.TAG_NOWHERE, Tone.NOTE, text, fix


def _manifest(lookup: ImageLookup) -> list[Step]:
    title, error = "Manifest", lookup.manifest_error
    if lookup.digest is None:
        return []
    if error is not None:
        text = f"{short(lookup.digest)} cannot be read: {meaning(error)} ({error.value})."
        return [Step(title, StepCode.MANIFEST_UNAVAILABLE, Tone.BAD, text, remedy(error))]
    layers = [location for location in lookup.parts if location.part.kind is Kind.LAYER]
    chosen = next((location.part.platform for location in lookup.parts if location.part.platform), "")
    platform = f" for {chosen}" if chosen else ""
    text = f"Read and verified{platform}: {count(len(layers), 'layer')}."
    return [Step(title, StepCode.MANIFEST_READ, Tone.GOOD, text)]


def _layers(parts: Sequence[PartLocation]) -> list[Step]:
    layers = [location for location in parts if location.part.kind is Kind.LAYER and location.known]
    missing = [each for each in layers if not (each.here or each.candidates or each.holders)]
    if not missing:
        return []
    text = (
        f"No node holds {count(len(missing), 'layer')} of it, although its manifest is there. A containerd "
        "that discards layers after unpacking them cannot serve them to others."
    )
    fix = "Set `discard_unpacked_layers = false` in containerd's configuration, and pull the image again."
    return [Step("Layers", StepCode.LAYERS_MISSING, Tone.BAD, text, fix)]


def _router(status: MirrorStatus) -> Step:
    title = "Router"
    if status.router_error is None:
        return Step(title, StepCode.ROUTER_ANSWERS, Tone.GOOD, "A router answers.")
    text = f"No router answers: {status.router_error}."
    if status.breaker_open_s > 0:
        text += f" The breaker is open: no router is asked for another {status.breaker_open_s:.1f} s."
    if status.remembered:
        text += f" Until a router answers, this node asks these peers directly: {joined(status.remembered)}."
    elif not status.peer_dns:
        text += (
            " This node remembers no peer, and HELIOGRAPH_PEER_DNS is off, so only its own content is served."
        )
    return Step(title, StepCode.ROUTER_UNAVAILABLE, Tone.BAD, text, remedy(Reason.RESOLVER_UNAVAILABLE))


def _peers(parts: Sequence[PartLocation]) -> list[Step]:
    candidates = [candidate for location in parts for candidate in location.candidates]
    asked_last = {each.node: each.asked_last_s for each in candidates if each.asked_last_s > 0}
    if not asked_last:
        return []
    named = joined([f"{node} for another {age(seconds)}" for node, seconds in asked_last.items()])
    text = (
        f"Asked last: {named}. A peer that did not deliver is asked last for half a minute, one that sent "
        "wrong bytes for an hour."
    )
    fix = "The registry's log says what the peer did."
    return [Step("Peers", StepCode.PEERS_ASKED_LAST, Tone.NOTE, text, fix)]


def _limits(status: MirrorStatus) -> Step:
    wait = (
        "When no node has the content but one is fetching it, the request waits up to "
        f"{age(status.wait_ms / 1000)} (HELIOGRAPH_WAIT_MS)."
        if status.wait_ms
        else "A request does not wait for content that another node is still fetching (HELIOGRAPH_WAIT_MS is "
        "off)."
    )
    text = (
        f"A request tries at most {count(status.attempts, 'peer')} (HELIOGRAPH_PEER_ATTEMPTS) and waits "
        f"{status.first_byte_ms} ms for the first byte (HELIOGRAPH_FIRST_BYTE_TIMEOUT_MS). {wait} "
        f"{status.transfers} of {status.max_transfers} transfers are in use (HELIOGRAPH_MAX_TRANSFERS)."
    )
    if status.transfers >= status.max_transfers:
        return Step("Limits", StepCode.LIMIT_REACHED, Tone.BAD, text, remedy(Reason.BUSY))
    return Step("Limits", StepCode.LIMITS, Tone.NOTE, text)
