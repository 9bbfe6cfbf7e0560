"""Why an image is served as it is: what was looked up goes in, sentences for an operator come out.

Pure: `why.py` looks everything up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from heliograph_registry.debug.domain.advice import meaning, remedy
from heliograph_registry.debug.domain.formatting import age, count, listed, short
from heliograph_registry.debug.domain.image import Kind, Part
from heliograph_registry.mirror.domain.peer import Outcome
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_shared.digest import Digest
from heliograph_shared.filters import Exclusion


class Tone(StrEnum):
    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A peer in the order in which it would be asked; `last_s` says for how long more it is asked last."""

    node: str
    addresses: tuple[str, ...]
    last_s: float
    tried: bool


@dataclass(frozen=True, slots=True)
class LookedUp:
    """`here` when this node's own store has it; `holders` are other nodes, `order` is whom it would ask.

    It is `known` when a router could tell who holds it.
    """

    part: Part
    here: bool
    holders: tuple[str, ...]
    order: tuple[Candidate, ...]
    known: bool = True

    @property
    def sentence(self) -> str:
        if self.here:
            return "this node's own store"
        if not self.known and not self.order:
            return "not known: no router tells who has it"
        if not self.order and self.holders:
            return "not served: those who hold it name no address that could be asked"
        if not self.order:
            return "nobody has it: 404, containerd goes upstream"
        tried = [candidate.node for candidate in self.order if candidate.tried]
        return f"asks {', then '.join(tried)}"


@dataclass(frozen=True, slots=True)
class TagAnswer:
    """What the router says of the tag, and what this node's own state file says."""

    outcome: Outcome
    routed: Digest | None
    own: Digest | None


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """What decides beside the image: settings, and how routers and peers stand just now.

    `no_router` says why none answers, None when one does; `left_alone_s` for how long more none is asked.
    """

    no_router: str | None
    left_alone_s: float
    remembered: tuple[str, ...]
    peer_dns: bool
    attempts: int
    wait_ms: int
    first_byte_ms: int
    transfers: int
    most_transfers: int


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that decides, with what mends it where something is to be mended."""

    title: str
    tone: Tone
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    reference: str
    tone: Tone
    answer: str
    steps: tuple[Step, ...]
    parts: tuple[LookedUp, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """All that was looked up. `by_tag` and `by_digest` are what excludes requests of either kind, if any.

    `manifest` is why it cannot be had, None when it was; `parts` are then manifests, config, layers.
    """

    reference: str
    by_tag: Exclusion | None
    by_digest: Exclusion | None
    tag: TagAnswer | None
    digest: Digest | None
    manifest: Reason | None
    parts: tuple[LookedUp, ...]
    status: MirrorStatus


def explained(case: Case) -> Explanation:
    tone, answer = _answer(case)
    steps = (
        _settings(case),
        *_tag(case),
        *_manifest(case),
        *_layers(case.parts),
        _routers(case.status),
        *_reputation(case.parts),
        _limits(case.status),
    )
    return Explanation(case.reference, tone, answer, steps, case.parts)


def _answer(case: Case) -> tuple[Tone, str]:
    excluded = case.by_tag or case.by_digest
    if excluded is not None:
        what = "this tag" if case.by_digest is None else "this image"
        return Tone.BAD, f"Not mirrored: {excluded.setting} excludes {what}, so containerd goes upstream."
    if case.digest is None:
        if case.status.no_router is not None:
            return (
                Tone.BAD,
                "Not served: no router answers, and neither this node nor a peer it knows has the tag.",
            )
        if case.tag is not None and case.tag.outcome is Outcome.NOT_SYNCED:
            return Tone.BAD, "Not served yet: the router is still rebuilding its index."
        return Tone.NOTE, "Not in the cluster: no node has this tag, so its first pull goes upstream."
    if case.manifest is not None:
        return Tone.BAD, f"Not served: its manifest cannot be had, because {meaning(case.manifest)}."
    return _by_parts(case.parts)


def _by_parts(parts: Sequence[LookedUp]) -> tuple[Tone, str]:
    here = [part for part in parts if part.here]
    away = [part for part in parts if not part.here and part.order]
    unknown = [part for part in parts if not part.here and not part.order and not part.known]
    missing = len(parts) - len(here) - len(away)
    if len(here) == len(parts):
        return Tone.GOOD, f"Served from this node's own store: it has all {count(len(parts), 'part')}."
    first = listed(list(dict.fromkeys(part.order[0].node for part in away)))
    if not missing:
        own = f", {len(here)} of them from its own store" if here else ""
        return (
            Tone.GOOD,
            f"Served in the cluster: all {count(len(parts), 'part')}{own}, the others first asked of {first}."
            if here
            else f"Served in the cluster: all {count(len(parts), 'part')}, first asked of {first}.",
        )
    if unknown:
        return (
            Tone.BAD,
            f"Served in part: {len(here)} of {count(len(parts), 'part')} from this node's own store. Who has "
            "the rest no router can tell just now.",
        )
    return (
        Tone.NOTE,
        f"Served in part: {len(here) + len(away)} of {count(len(parts), 'part')}; the other {missing} nobody "
        "has, and containerd fetches them upstream.",
    )


def _settings(case: Case) -> Step:
    title = "Settings"
    exclusion = case.by_tag or case.by_digest
    if exclusion is None:
        return Step(title, Tone.GOOD, "Neither the list of mirrored registries nor a filter excludes it.")
    if exclusion.setting == "HELIOGRAPH_MIRRORED_REGISTRIES":
        text = f"{exclusion.setting} is set and does not list {exclusion.entry}."
        mend = (
            f"Add {exclusion.entry} to it, for indexer, registry and configurator, or empty it to mirror all."
        )
    else:
        text = f"The expression `{exclusion.entry}` of {exclusion.setting} finds something in its name."
        mend = (
            "Change the expression, for indexer, registry and configurator, if the image should be mirrored."
        )
    if case.by_digest is None:
        text += " Only its tag is excluded: who asks by digest is served."
    return Step(title, Tone.BAD, f"{text} Such a request is answered 404 (filtered).", mend)


def _tag(case: Case) -> list[Step]:
    tag, title = case.tag, "Tag"
    if tag is None:
        return []
    if tag.routed is not None:
        text = f"It names {short(tag.routed)}, says the router."
        if tag.own is None:
            return [Step(title, Tone.GOOD, f"{text} This node does not have the tag itself.")]
        if tag.own == tag.routed:
            return [Step(title, Tone.GOOD, f"{text} So it does on this node.")]
        return [
            Step(
                title,
                Tone.NOTE,
                f"{text} On this node it still names {short(tag.own)}: of several digests the one whose "
                "first tagging is the latest wins.",
            )
        ]
    if tag.own is not None:
        elsewhere = "the router does not know the tag"
        if tag.outcome is Outcome.NOT_SYNCED:
            elsewhere = "no router tells what it names elsewhere"
        return [Step(title, Tone.NOTE, f"It names {short(tag.own)} on this node; {elsewhere}.")]
    if tag.outcome is Outcome.NOT_SYNCED:
        reason = Reason.RESOLVER_UNAVAILABLE
        return [Step(title, Tone.BAD, f"Not known: {meaning(reason)}.", remedy(reason))]
    return [
        Step(
            title,
            Tone.NOTE,
            "No node has it. Tags that a filter excludes are not announced, and neither are images that a "
            "node knows by digest only.",
            "Pull it once on any node; the others have it a second later.",
        )
    ]


def _manifest(case: Case) -> list[Step]:
    if case.digest is None:
        return []
    if case.manifest is not None:
        return [
            Step(
                "Manifest",
                Tone.BAD,
                f"{short(case.digest)} cannot be had: {meaning(case.manifest)} ({case.manifest.value}).",
                remedy(case.manifest),
            )
        ]
    layers = [each for each in case.parts if each.part.kind is Kind.LAYER]
    chosen = next((each.part.platform for each in case.parts if each.part.platform), "")
    platform = f" for {chosen}" if chosen else ""
    return [Step("Manifest", Tone.GOOD, f"Read and verified{platform}: {count(len(layers), 'layer')}.")]


def _layers(parts: Sequence[LookedUp]) -> list[Step]:
    lost = [each for each in parts if each.part.kind is Kind.LAYER and each.known]
    lost = [each for each in lost if not (each.here or each.order or each.holders)]
    if not lost:
        return []
    return [
        Step(
            "Layers",
            Tone.BAD,
            f"{count(len(lost), 'layer')} of it nobody holds, though its manifest is there. A containerd "
            "that discards layers once they are unpacked has none to give.",
            "Set `discard_unpacked_layers = false` in containerd's configuration, and pull the image anew.",
        )
    ]


def _routers(now: MirrorStatus) -> Step:
    title = "Router"
    if now.no_router is None:
        return Step(title, Tone.GOOD, "A router answers.")
    text = f"No router answers: {now.no_router}."
    if now.left_alone_s > 0:
        text += (
            f" After that failure none is asked for another {now.left_alone_s:.1f} s (the breaker is open)."
        )
    if now.remembered:
        text += f" Until one does, these are asked directly: {listed(list(now.remembered))}."
    elif not now.peer_dns:
        text += " No peer is remembered, and HELIOGRAPH_PEER_DNS is off, so only own content is served."
    return Step(title, Tone.BAD, text, remedy(Reason.RESOLVER_UNAVAILABLE))


def _reputation(parts: Sequence[LookedUp]) -> list[Step]:
    last = {
        candidate.node: candidate.last_s for part in parts for candidate in part.order if candidate.last_s > 0
    }
    if not last:
        return []
    named = [f"{node} for another {age(seconds)}" for node, seconds in last.items()]
    return [
        Step(
            "Peers",
            Tone.NOTE,
            f"Asked last: {listed(named)}. A peer that does not deliver is asked last for half a minute, one "
            "that sent wrong bytes for an hour.",
            "The registry's log says what it did.",
        )
    ]


def _limits(now: MirrorStatus) -> Step:
    wait = (
        f"what nobody holds but a node is fetching is waited for, up to {age(now.wait_ms / 1000)} "
        "(HELIOGRAPH_WAIT_MS)"
        if now.wait_ms
        else "nothing is waited for that another node is only fetching (HELIOGRAPH_WAIT_MS is off)"
    )
    busy = now.transfers >= now.most_transfers
    return Step(
        "Limits",
        Tone.BAD if busy else Tone.NOTE,
        f"At most {count(now.attempts, 'peer')} are tried for a request (HELIOGRAPH_PEER_ATTEMPTS), for "
        f"{now.first_byte_ms} ms until the first byte (HELIOGRAPH_FIRST_BYTE_TIMEOUT_MS); {wait}; "
        f"{now.transfers} of {now.most_transfers} transfers are under way (HELIOGRAPH_MAX_TRANSFERS).",
        remedy(Reason.BUSY) if busy else "",
    )
