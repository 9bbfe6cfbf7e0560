"""Finds what is wrong with certs.d from its content alone. Pure.

A folder counts as mirrored if the configurator wrote its file, or if the file names a mirror of the settings.
How containerd reads a file is described in its docs/hosts.md; differences between versions are noted here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heliograph_configurator.domain import hosts_toml
from heliograph_configurator.domain.certificate import Certificate, named_in
from heliograph_configurator.domain.checks import ConfiguratorCheck
from heliograph_configurator.domain.containerd_reading import NO_HOST, Series, dropped_by
from heliograph_configurator.domain.folder import Folder, Ownership, Tree
from heliograph_configurator.domain.hosts_toml import BrokenHosts
from heliograph_configurator.domain.ipv6_hosts import bracketed, unbracketed
from heliograph_configurator.domain.registry import DEFAULT, UpstreamRegistry, is_file_name
from heliograph_shared.findings import Finding, Severity

_APPLY = "heliograph-configurator apply"


@dataclass(frozen=True, slots=True)
class MirrorAnswer:
    """What answers at a mirror's address. `reason` says why nothing does; empty if something does.

    `is_heliograph` is None if that is unknown. `seen` describes the answer, for a person.
    """

    reason: str = ""
    is_heliograph: bool | None = None
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Of certs.d at `root`, given the `registries` to mirror (None: all) and the mirrors' URLs, `targets`."""

    root: str
    tree: Tree
    registries: Sequence[UpstreamRegistry] | None
    targets: Sequence[str]

    def findings(self) -> Iterator[Finding]:
        for folder in self.tree:
            yield from self._in_folder(folder)
        yield from self._not_mirrored()
        if self.registries is None:
            yield from self._shadowed()
        yield from self._hidden()

    def certificates(self) -> Iterator[tuple[str, Certificate]]:
        """The certificates that the files name, each with the folder that its paths are relative to."""
        for folder in self.tree:
            for certificate in named_in(_document(folder) or {}):
                yield folder.name, certificate

    def mirrors(self) -> tuple[str, ...]:
        """The URLs of the mirrors that containerd asks: those in the files, else those of the settings."""
        named: list[str] = []
        for folder in self.tree:
            hosts = list(_hosts_of(folder))
            known = [url for url in hosts if _normalized(url) in map(_normalized, self.targets)]
            named += known or (hosts[:1] if folder.ownership is Ownership.OURS else [])
        return tuple(dict.fromkeys(named or self.targets))

    def _in_folder(self, folder: Folder) -> Iterator[Finding]:
        path = f"{self.root}/{folder.name}"
        if folder.obstacle:
            yield from self._obstacle(folder, path)
        if folder.hosts is None or not folder.hosts.content.strip():
            return
        path += "/hosts.toml"
        try:
            document = hosts_toml.parse(folder.hosts.content)
        except BrokenHosts as error:
            problem = "a hosts.toml is broken: containerd ignores all of it and does not ask the mirror"
            remedy = f"fix or remove {path}, then `{_APPLY}`"
            yield Finding(ConfiguratorCheck.HOSTS, "error", problem, f"{path}: {error}", remedy)
            return
        yield from _ignored(path, folder.hosts.content, document)
        yield from _pitfalls(path, document)
        if folder.name == DEFAULT and "server" in document:
            problem = "_default names a server: containerd asks it for images of every registry"
            seen = f"{path}: server = {document['server']!r}"
            yield Finding(ConfiguratorCheck.SERVER, "warning", problem, seen, f"remove `server` from {path}")

    def _obstacle(self, folder: Folder, path: str) -> Iterator[Finding]:
        wanted = {DEFAULT, *(self.tree.folder_of(registry).name for registry in self.registries or ())}
        if not folder.is_folder and folder.name not in wanted and is_file_name(folder.name):
            return
        problem = f"the folder {folder.name} cannot be used"
        remedy = f"make {path} a folder that root can read, or remove it, then `{_APPLY}`"
        if folder.fails:
            which = "registries without a folder of their own" if folder.name == DEFAULT else folder.name
            problem = (
                f"containerd fails every pull of {which}: it finds no readable hosts.toml at {folder.name}"
            )
            remedy = (
                f"remove {path} if it is no folder, or {path}/hosts.toml if that is no file, then `{_APPLY}`"
            )
        severity: Severity = "error" if folder.fails else "warning"
        yield Finding(ConfiguratorCheck.CERTS, severity, problem, f"{path}: {folder.obstacle}", remedy)

    def _not_mirrored(self) -> Iterator[Finding]:
        wanted = [(registry.host, self.tree.folder_of(registry)) for registry in self.registries or ()]
        if self.registries is None:
            wanted = [("all registries", self.tree[DEFAULT])]
        for name, folder in wanted:
            if folder.obstacle or _is_broken(folder) or self._is_mirrored(folder):
                continue
            path = f"{self.root}/{folder.name}/hosts.toml"
            seen, remedy = f"{path} names none of {', '.join(self.targets)}", _APPLY
            if folder.hosts is None:
                seen = f"there is no {path}"
            elif folder.ownership is Ownership.EDITED:
                seen, remedy = f"{seen}, since it was changed by hand", f"rm {path}, then `{_APPLY}`"
            problem = f"containerd does not ask the mirror for images of {name}"
            yield Finding(ConfiguratorCheck.MIRRORED, "error", problem, seen, remedy)

    def _shadowed(self) -> Iterator[Finding]:
        for folder in self.tree:
            if folder.name == DEFAULT or not folder.exists or folder.obstacle:
                continue
            if _is_broken(folder) or self._is_mirrored(folder):
                continue
            path = f"{self.root}/{folder.name}"
            empty = folder.hosts is None and not folder.certificates
            yield Finding(
                ConfiguratorCheck.SHADOWED,
                "error" if empty else "warning",
                f"{folder.name} is not mirrored: its folder keeps containerd from looking into _default",
                f"{path} is empty" if empty else f"{path} exists and names none of the mirrors",
                f"rmdir {path}" if empty else f"{_APPLY} --prepend-existing",
            )

    def _hidden(self) -> Iterator[Finding]:
        default = self.tree[DEFAULT]
        for name in self.tree.only_later():
            later = self.tree.inherited(name)
            if later is None or not default.exists or self.tree.folder_of(UpstreamRegistry(name)).exists:
                continue
            yield Finding(
                ConfiguratorCheck.HIDDEN,
                "error",
                f"a _default folder keeps containerd from using the folder of {name} in a later root: "
                "its hosts and certificates do not apply",
                f"{self.root}/{DEFAULT} comes before {later.path}",
                f"{_APPLY} with all folders of containerd's config_path in HELIOGRAPH_REGISTRY_CONFIG_PATH",
            )

    def _is_mirrored(self, folder: Folder) -> bool:
        named = set(map(_normalized, _hosts_of(folder)))
        return folder.ownership is Ownership.OURS or any(
            _normalized(target) in named for target in self.targets
        )


def examine_mirror(url: str, answer: MirrorAnswer) -> Iterator[Finding]:
    if answer.reason:
        yield Finding(
            ConfiguratorCheck.REACHED,
            "error",
            "the mirror that containerd asks does not answer, so every pull goes upstream",
            f"{url}: {answer.reason}",
            "start this node's registry, and set HELIOGRAPH_MIRROR_TARGETS to the address at which the node "
            "itself reaches it (in the cluster: the node's own address and the host port)",
        )
    elif answer.is_heliograph is False:
        yield Finding(
            ConfiguratorCheck.HELIOGRAPH,
            "error",
            "another program answers at the mirror's address",
            f"{url}/v2/: {answer.seen}",
            "give the registry a port of its own with HELIOGRAPH_REGISTRY_LISTEN, "
            f"set HELIOGRAPH_MIRROR_TARGETS to match, then `{_APPLY}`",
        )


def unreadable(root: str, reason: str) -> Finding:
    return Finding(
        ConfiguratorCheck.CERTS,
        "error",
        "certs.d cannot be read, so it is unknown which mirrors containerd asks",
        reason,
        f"run the doctor as root, and check that HELIOGRAPH_REGISTRY_CONFIG_PATH={root} is the folder that "
        "containerd's config_path names",
    )


def _ignored(path: str, content: bytes, document: Mapping[str, Any]) -> Iterator[Finding]:
    """An error if every containerd 2 ignores the file, else a warning: the node's version is unknown."""
    dropped = {series: reason for series, reason in dropped_by(content).items() if reason != NO_HOST}
    if not dropped:
        return
    versions = ", ".join(series.value for series in dropped)
    ipv6 = [url for url in document.get("host", {}) if bracketed(url) != unbracketed(url)]
    remedy = f"correct or remove {path}, then `{_APPLY}`"
    if len(dropped) == 1 and ipv6:
        remedy = (
            f"in {path}, write the host as {unbracketed(ipv6[0])} for containerd 1, "
            f"as {bracketed(ipv6[0])} for containerd 2"
        )
    yield Finding(
        ConfiguratorCheck.HOSTS,
        "error" if {Series.V2_0, Series.V2_2} <= dropped.keys() else "warning",
        f"containerd {versions} ignores a whole hosts.toml and asks none of its hosts",
        f"{path}: {next(iter(dropped.values()))}",
        remedy,
    )


def _pitfalls(path: str, document: Mapping[str, Any]) -> Iterator[Finding]:
    for url, table in document.get("host", {}).items():
        if url.startswith("http://") and table.get("skip_verify") is True:
            problem = "skip_verify for an http host makes containerd try TLS there first"
            remedy = f"in {path}, remove skip_verify from {url}"
            yield Finding(ConfiguratorCheck.HOSTS, "warning", problem, f"{path}: host {url}", remedy)


def _hosts_of(folder: Folder) -> Iterator[str]:
    """The URLs of the file's hosts, in order; none if the file is broken."""
    yield from (_document(folder) or {}).get("host", {})


def _is_broken(folder: Folder) -> bool:
    return folder.hosts is not None and _document(folder) is None


def _document(folder: Folder) -> Mapping[str, Any] | None:
    """The parsed file; None if there is no file, or if it is broken."""
    if folder.hosts is None:
        return None
    try:
        return hosts_toml.parse(folder.hosts.content)
    except BrokenHosts:
        return None


def _normalized(url: str) -> str:
    """For comparison: IPv6 addresses without brackets, no trailing slash."""
    return url.replace("[", "").replace("]", "").rstrip("/")
