"""What to change in certs.d, and what to tell the operator, given what is there. Pure.

The outcome depends on the settings and on what was there before us, never on earlier runs: every folder
that the settings do not ask for goes back to its original, and what they ask for is computed from originals.
A file that somebody else has changed since we wrote it is his, and is left.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from heliograph_configurator.domain import hosts_toml
from heliograph_configurator.domain.folder import Claim, Folder, HostsFile, Standing, Tree
from heliograph_configurator.domain.hosts_toml import BrokenHosts
from heliograph_configurator.domain.mirror import CA_FILE, CLIENT_FILE, NO_TLS, Mirror, Tls
from heliograph_configurator.domain.registry import DEFAULT, Registry

NEW_FILE_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Write:
    """Record the claim, its original kept, and what was `damaged`; then put the file, and `tls` beside it."""

    folder: str
    file: HostsFile
    claim: Claim
    tls: Tls
    damaged: HostsFile | None = None


@dataclass(frozen=True, slots=True)
class Restore:
    """Put back what the claim found, absence included, then forget the claim."""

    folder: str
    claim: Claim


@dataclass(frozen=True, slots=True)
class Release:
    """Forget a claim that found nothing, and leave what is there now."""

    folder: str


Step = Write | Restore | Release


@dataclass(frozen=True, slots=True)
class LeftEdited:
    """Somebody has changed our file; `original_kept` when what we once found there is kept beside."""

    folder: str
    original_kept: bool


@dataclass(frozen=True, slots=True)
class Mended:
    """Our file was empty or no TOML any more; what was found is kept beside."""

    folder: str
    reason: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """A `hosts.toml` of somebody else does not apply any more."""

    folder: str


@dataclass(frozen=True, slots=True)
class TakenFromDefault:
    """A registry that went by the operator's `_default` gets a folder of its own."""

    folder: str


@dataclass(frozen=True, slots=True)
class Shadowing:
    """The folder keeps its registry from being mirrored by `_default`."""

    folder: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """The folder cannot be worked on, and was left."""

    folder: str
    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The existing file cannot be read, so nothing can be put before it."""

    folder: str
    line: int
    reason: str


Note = LeftEdited | Mended | Replaced | TakenFromDefault | Shadowing | Unusable | Broken


@dataclass(slots=True)
class Plan:
    """Steps are independent of each other; each leaves its folder whole."""

    steps: list[Step] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def plan_apply(
    mirror: Mirror, registries: Sequence[Registry] | None, tree: Tree, *, prepend: bool, mend: bool = False
) -> Plan:
    """Mirror `registries`, all of them when None; with `prepend` what exists is kept behind the mirror.

    With `mend` a file of ours that somebody has left empty or broken is written anew.
    """
    plan = Plan()
    wanted = _wanted(registries, tree, prepend=prepend)
    for name, server in wanted.items():
        _configure(plan, tree[name], mirror, server, prepend=prepend, mend=mend)
    _give_back(plan, tree, keep=wanted.keys())
    if registries is None:
        others = (folder.name for folder in tree if folder.stays and folder.name not in wanted)
        plan.notes += map(Shadowing, others)
    elif tree[DEFAULT].original is not None:
        plan.notes += [TakenFromDefault(name) for name in wanted if not tree[name].stays]
    return plan


def plan_cleanup(tree: Tree) -> Plan:
    """Take everything back, for good."""
    plan = Plan()
    _give_back(plan, tree, keep=())
    return plan


def plan_withdrawal(tree: Tree) -> Plan:
    """Take everything back for a while: what somebody has edited stays known as that."""
    plan = plan_cleanup(tree)
    plan.steps = [step for step in plan.steps if not isinstance(step, Release)]
    return plan


def _wanted(registries: Sequence[Registry] | None, tree: Tree, *, prepend: bool) -> dict[str, str | None]:
    """The folders that shall point at the mirror, each with the `server` to fall back to."""
    if registries is not None:
        return {tree.folder_of(registry).name: registry.server for registry in registries}
    others = (folder.name for folder in tree if folder.stays) if prepend else ()
    return {DEFAULT: None, **dict.fromkeys(others)}


def _configure(
    plan: Plan, folder: Folder, mirror: Mirror, server: str | None, *, prepend: bool, mend: bool
) -> None:
    damage = _damage(folder.hosts) if mend and folder.standing is Standing.EDITED else ""
    if folder.obstacle:
        plan.notes.append(Unusable(folder.name, folder.obstacle))
        return
    if folder.standing is Standing.EDITED and not damage:
        plan.notes.append(LeftEdited(folder.name, original_kept=folder.original is not None))
        return
    try:
        content = _content(folder, mirror, server, prepend=prepend)
    except BrokenHosts as error:
        plan.notes.append(Broken(folder.name, error.line, error.reason))
        if folder.claim is not None:
            plan.steps.append(Restore(folder.name, folder.claim))
        return
    file = HostsFile(content, _mode(folder, mirror))
    if _is_so(folder, file, mirror.named_tls):
        return
    if folder.claim is None and folder.tls != NO_TLS:
        plan.notes.append(Unusable(folder.name, f"{CA_FILE} or {CLIENT_FILE} lies there, and not by us"))
        return
    if damage:
        plan.notes.append(Mended(folder.name, damage))
    elif folder.standing is Standing.FOREIGN and folder.hosts is not None and not prepend:
        plan.notes.append(Replaced(folder.name))
    damaged = folder.hosts if damage else None
    plan.steps.append(Write(folder.name, file, _claim(folder, file), mirror.named_tls, damaged))


def _damage(hosts: HostsFile | None) -> str:
    """What is wrong with a file, for a person; nobody leaves it so on purpose."""
    if hosts is None or not hosts.content.strip():
        return "it is empty"
    try:
        hosts_toml.parse(hosts.content)
    except BrokenHosts as error:
        return str(error)
    return ""


def _mode(folder: Folder, mirror: Mirror) -> int:
    """As it was; for its owner alone with a password in it."""
    mode = folder.original.mode if folder.original else NEW_FILE_MODE
    return mode & 0o700 if mirror.authorization else mode


def _is_so(folder: Folder, file: HostsFile, tls: Tls) -> bool:
    """Whether all is as it shall be; a mode that lets fewer in is no fault."""
    hosts = folder.hosts
    if hosts is None or hosts.content != file.content or folder.tls != tls:
        return False
    return not hosts.mode & ~file.mode


def _content(folder: Folder, mirror: Mirror, server: str | None, *, prepend: bool) -> bytes:
    """Raises `BrokenHosts` for an original that must be kept but cannot be read."""
    original = folder.original
    if original is None or not original.content:
        return hosts_toml.new(mirror, server, folder.certificates)
    try:
        existing = hosts_toml.parse(original.content)
    except BrokenHosts:
        if prepend:
            raise
        return hosts_toml.new(mirror, server, folder.certificates)
    return hosts_toml.prepended(mirror, server, existing) if prepend else hosts_toml.new(mirror, server, ())


def _claim(folder: Folder, file: HostsFile) -> Claim:
    """What must be on record before `file` is put."""
    ours = (folder.hosts.fingerprint,) if folder.hosts and folder.standing is Standing.OURS else ()
    return Claim(folder.original, folder.stays, (*ours, file.fingerprint))


def _give_back(plan: Plan, tree: Tree, *, keep: Collection[str]) -> None:
    for folder in tree:
        if folder.claim is None or folder.name in keep:
            continue
        if folder.obstacle:
            plan.notes.append(Unusable(folder.name, folder.obstacle))
        elif folder.standing is not Standing.EDITED:
            plan.steps.append(Restore(folder.name, folder.claim))
        else:
            plan.notes.append(LeftEdited(folder.name, original_kept=folder.original is not None))
            if folder.original is None:
                plan.steps.append(Release(folder.name))
