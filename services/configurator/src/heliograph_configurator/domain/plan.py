"""What to change in certs.d, and what to tell the operator, given what is there. Pure.

The plan depends on the settings and on the original files, never on earlier runs: every folder that the
settings do not ask for gets its original back, and every new file is computed from an original. A file of
ours that somebody else has changed since then belongs to them and is left. A file without our heading is a
new original.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from heliograph_configurator.domain import hosts_toml, kept_hosts
from heliograph_configurator.domain.containerd_reading import NO_HOST
from heliograph_configurator.domain.folder import Claim, Folder, HostsFile, LaterFolder, Ownership, Tree
from heliograph_configurator.domain.hosts_toml import BrokenHosts
from heliograph_configurator.domain.mirror import CA_FILE, CLIENT_FILE, NO_TLS, MirrorHosts, MirrorTls
from heliograph_configurator.domain.notes import (
    LeftEdited,
    NewOriginal,
    Note,
    OverridesDefault,
    PartlyIgnored,
    Repaired,
    Replaced,
    ShadowsDefault,
    UnparsableFile,
    UnusableFolder,
)
from heliograph_configurator.domain.registry import DEFAULT, UpstreamRegistry

NEW_FILE_MODE = 0o644

_THEIRS = {Ownership.FOREIGN, Ownership.REPLACED}


@dataclass(frozen=True, slots=True)
class WriteHosts:
    """Record the claim with its original, keep a `damaged` file, then write `file` and `tls` beside it."""

    folder: str
    file: HostsFile
    claim: Claim
    tls: MirrorTls
    damaged: HostsFile | None = None


@dataclass(frozen=True, slots=True)
class RestoreOriginal:
    """Restore the folder as the claim found it, which may be absent, then drop the claim."""

    folder: str
    claim: Claim


@dataclass(frozen=True, slots=True)
class ReleaseClaim:
    """Drop a claim that has no original, and leave what is there now."""

    folder: str


Step = WriteHosts | RestoreOriginal | ReleaseClaim


@dataclass(slots=True)
class Plan:
    """Steps are independent of each other; each leaves its folder complete."""

    steps: list[Step] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def plan_apply(
    mirror: MirrorHosts,
    registries: Sequence[UpstreamRegistry] | None,
    tree: Tree,
    *,
    prepend: bool,
    repair: bool = False,
) -> Plan:
    """Mirror `registries`, all of them if None; with `prepend` existing hosts are kept after the mirrors.

    With `repair` a file of ours that somebody has left empty or broken is written again.
    """
    plan = Plan()
    wanted = _wanted(registries, tree, prepend=prepend)
    if registries is None and (lost := _cannot_inherit(mirror, tree)):
        plan.notes += lost
        del wanted[DEFAULT]
    for name, server in wanted.items():
        _configure(plan, tree, tree[name], mirror, server, prepend=prepend, repair=repair)
    _restore_others(plan, tree, keep=wanted.keys())
    if registries is None:
        others = (folder.name for folder in tree if folder.preexisting and folder.is_folder)
        plan.notes += [ShadowsDefault(name) for name in others if name not in wanted]
    elif tree[DEFAULT].original is not None or tree.inherited(DEFAULT) is not None:
        plan.notes += [
            OverridesDefault(name)
            for name in wanted
            if not tree[name].preexisting and tree.inherited(name) is None
        ]
    return plan


def plan_cleanup(tree: Tree) -> Plan:
    """Restore every original, for good."""
    plan = Plan()
    _restore_others(plan, tree, keep=())
    return plan


def plan_withdrawal(tree: Tree) -> Plan:
    """Restore every original until the next `apply`: edited files keep their claims and count as edited."""
    plan = plan_cleanup(tree)
    plan.steps = [step for step in plan.steps if not isinstance(step, ReleaseClaim)]
    return plan


def _wanted(
    registries: Sequence[UpstreamRegistry] | None, tree: Tree, *, prepend: bool
) -> dict[str, str | None]:
    """The folders that have to name the mirrors, each with the `server` to fall back to.

    A `_default` hides every folder in a later root, so each of those gets one in the first root.
    """
    if registries is not None:
        return {tree.folder_of(registry).name: registry.server for registry in registries}
    others = [folder.name for folder in tree if folder.preexisting and folder.is_folder] if prepend else ()
    return {DEFAULT: None, **dict.fromkeys(others), **dict.fromkeys(tree.only_later())}


def _cannot_inherit(mirror: MirrorHosts, tree: Tree) -> list[Note]:
    """The folders in later roots whose meaning would be lost with a `_default` of ours."""
    lost: list[Note] = []
    for name in (*tree.only_later(), DEFAULT):
        try:
            _inherited_content(tree.inherited(name), mirror, None)
        except BrokenHosts as error:
            lost.append(UnparsableFile(name, error.line, error.reason))
    return lost


def _configure(
    plan: Plan,
    tree: Tree,
    folder: Folder,
    mirror: MirrorHosts,
    server: str | None,
    *,
    prepend: bool,
    repair: bool,
) -> None:
    damage = _damage(folder.hosts) if repair and folder.ownership is Ownership.EDITED else ""
    if folder.obstacle:
        plan.notes.append(UnusableFolder(folder.name, folder.obstacle))
        return
    if folder.ownership is Ownership.EDITED and not damage:
        plan.notes.append(LeftEdited(folder.name, original_kept=folder.original is not None))
        return
    try:
        content = _inherited_content(tree.inherited(folder.name), mirror, server)
        content = content or _content(folder, mirror, server, prepend=prepend)
    except BrokenHosts as error:
        plan.notes.append(UnparsableFile(folder.name, error.line, error.reason))
        if folder.claim is not None:
            plan.steps.append(_restored(folder, folder.claim))
        return
    file = HostsFile(content, _mode(folder, mirror))
    if _is_up_to_date(folder, file, mirror.tls_files):
        return
    if folder.claim is None and folder.tls != NO_TLS:
        reason = f"it holds a {CA_FILE} or {CLIENT_FILE} that the configurator did not write"
        plan.notes.append(UnusableFolder(folder.name, reason))
        return
    plan.notes += _notes_about_original(folder, prepend=prepend)
    if damage:
        plan.notes.append(Repaired(folder.name, damage))
    damaged = folder.hosts if damage else None
    plan.steps.append(WriteHosts(folder.name, file, _claim(folder, file), mirror.tls_files, damaged))


def _damage(hosts: HostsFile | None) -> str:
    """Says that a file of ours is missing, empty or broken, for a person; empty if it is none of these."""
    if hosts is None or not hosts.content.strip():
        return "it is empty"
    try:
        hosts_toml.parse(hosts.content)
    except BrokenHosts as error:
        return str(error)
    return ""


def _mode(folder: Folder, mirror: MirrorHosts) -> int:
    """The original's; for the owner only when the file holds a password."""
    mode = folder.original.mode if folder.original else NEW_FILE_MODE
    return mode & 0o700 if mirror.authorization else mode


def _is_up_to_date(folder: Folder, file: HostsFile, tls: MirrorTls) -> bool:
    """True if already as planned; stricter permissions are fine."""
    hosts = folder.hosts
    if hosts is None or hosts.content != file.content or folder.tls != tls:
        return False
    return not hosts.mode & ~file.mode


def _inherited_content(later: LaterFolder | None, mirror: MirrorHosts, server: str | None) -> bytes:
    """The mirrors, and what a later root gives; empty if that is nothing. Raises `BrokenHosts`.

    containerd cannot pull by a folder with an obstacle, so there is nothing to keep.
    """
    if later is None or later.obstacle:
        return b""
    content = later.hosts.content if later.hosts else b""
    try:
        kept_hosts.ignored(content)
    except BrokenHosts:
        content = b""
    if not content:
        return hosts_toml.new(mirror, server, later.certificates)
    try:
        return kept_hosts.with_mirrors(mirror, content, later.certificates, later.path)
    except BrokenHosts as error:
        raise BrokenHosts(error.line, f"{later.path}/hosts.toml: {error.reason}") from error


def _content(folder: Folder, mirror: MirrorHosts, server: str | None, *, prepend: bool) -> bytes:
    """Raises `BrokenHosts` for an original that has to be kept but cannot be."""
    original = folder.original
    if original is None or not original.content:
        return hosts_toml.new(mirror, server, folder.certificates)
    if prepend:
        return kept_hosts.with_mirrors(mirror, original.content, folder.certificates)
    try:
        kept_hosts.ignored(original.content)
    except BrokenHosts:
        return hosts_toml.new(mirror, server, folder.certificates)
    return hosts_toml.new(mirror, server, ())


def _notes_about_original(folder: Folder, *, prepend: bool) -> Iterator[Note]:
    if folder.ownership is Ownership.REPLACED:
        yield NewOriginal(folder.name)
    if prepend and folder.original is not None:
        yield from _partly_ignored(folder.name, folder.original.content)
    if folder.ownership in _THEIRS and folder.hosts is not None and not prepend:
        yield Replaced(folder.name)


def _partly_ignored(folder: str, original: bytes) -> Iterator[PartlyIgnored]:
    """A file with a `server` alone, which containerd 1 ignores, is no mistake."""
    dropped = kept_hosts.ignored(original) if original else {}
    versions = tuple(series.value for series, reason in dropped.items() if reason != NO_HOST)
    if versions:
        yield PartlyIgnored(
            folder, versions, next(reason for reason in dropped.values() if reason != NO_HOST)
        )


def _claim(folder: Folder, file: HostsFile) -> Claim:
    """What has to be recorded before `file` is written."""
    ours = (folder.hosts.fingerprint,) if folder.hosts and folder.ownership is Ownership.OURS else ()
    return Claim(folder.original, folder.preexisting, (*ours, file.fingerprint))


def _restore_others(plan: Plan, tree: Tree, *, keep: Collection[str]) -> None:
    """Give up every claim but those of the folders in `keep`."""
    for folder in tree:
        if folder.claim is None or folder.name in keep:
            continue
        if folder.obstacle:
            plan.notes.append(UnusableFolder(folder.name, folder.obstacle))
        elif folder.ownership is not Ownership.EDITED:
            plan.steps.append(_restored(folder, folder.claim))
        else:
            plan.notes.append(LeftEdited(folder.name, original_kept=folder.original is not None))
            if folder.original is None:
                plan.steps.append(ReleaseClaim(folder.name))


def _restored(folder: Folder, claim: Claim) -> RestoreOriginal:
    return RestoreOriginal(folder.name, Claim(folder.original, folder.preexisting, claim.written))
