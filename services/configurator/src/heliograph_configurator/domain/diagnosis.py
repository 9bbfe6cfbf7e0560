"""What is wrong with certs.d, told from what lies there: nothing is asked and nothing is changed. Pure.

A folder counts as mirrored when its file is one that we wrote, or when it names a mirror that the settings
name. What containerd makes of a file is in its docs/hosts.md and differs by version where that is said.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heliograph_configurator.domain import hosts_toml
from heliograph_configurator.domain.certificate import Certificate, named_in
from heliograph_configurator.domain.checks import Check
from heliograph_configurator.domain.folder import Folder, Standing, Tree
from heliograph_configurator.domain.hosts_toml import BrokenHosts
from heliograph_configurator.domain.registry import DEFAULT, Registry
from heliograph_shared.findings import Finding

_APPLY = "heliograph-configurator apply"


@dataclass(frozen=True, slots=True)
class MirrorAnswer:
    """What answers at a mirror's address. `reason` says why nothing does, empty when something does.

    `is_heliograph` is None where that could not be told.
    """

    reason: str = ""
    is_heliograph: bool | None = None
    seen: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Of certs.d at `root`, given `registries` (None: all) and their mirrors' `targets`."""

    root: str
    tree: Tree
    registries: Sequence[Registry] | None
    targets: Sequence[str]

    def findings(self) -> Iterator[Finding]:
        for folder in self.tree:
            yield from self._in_folder(folder)
        yield from self._unmirrored()
        if self.registries is None:
            yield from self._shadowing()

    def certificates(self) -> Iterator[tuple[str, Certificate]]:
        """What the files name, with the folder that it is relative to."""
        for folder in self.tree:
            for certificate in named_in(_document(folder) or {}):
                yield folder.name, certificate

    def asked(self) -> tuple[str, ...]:
        """The mirrors that containerd is sent to: those in our files, else those of the settings."""
        named: list[str] = []
        for folder in self.tree:
            hosts = list(_hosts_of(folder))
            ours = [url for url in hosts if _plain(url) in map(_plain, self.targets)]
            named += ours or (hosts[:1] if folder.standing is Standing.OURS else [])
        return tuple(dict.fromkeys(named or self.targets))

    def _in_folder(self, folder: Folder) -> Iterator[Finding]:
        path = f"{self.root}/{folder.name}"
        if folder.obstacle:
            problem = f"the folder {folder.name} cannot be looked into"
            remedy = f"make {path} a folder that root can read, or remove it, then `{_APPLY}`"
            yield Finding(Check.CERTS, "warning", problem, f"{path}: {folder.obstacle}", remedy)
        if folder.hosts is None or not folder.hosts.content.strip():
            return
        path += "/hosts.toml"
        try:
            document = hosts_toml.parse(folder.hosts.content)
        except BrokenHosts as error:
            problem = "a hosts.toml is broken: containerd ignores it whole, and goes past the mirror"
            remedy = f"mend or remove {path}, then `{_APPLY}`"
            yield Finding(Check.HOSTS, "error", problem, f"{path}: {error}", remedy)
            return
        yield from _traps(path, document)
        if folder.name == DEFAULT and "server" in document:
            problem = "_default names a server: what no mirror has is asked there, whatever the registry"
            seen = f"{path}: server = {document['server']!r}"
            yield Finding(Check.SERVER, "warning", problem, seen, f"take `server` out of {path}")

    def _unmirrored(self) -> Iterator[Finding]:
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
            elif folder.standing is Standing.EDITED:
                seen, remedy = f"{seen}: it was changed by hand", f"rm {path}, then `{_APPLY}`"
            problem = f"containerd is not sent to the mirror for {name}"
            yield Finding(Check.MIRRORED, "error", problem, seen, remedy)

    def _shadowing(self) -> Iterator[Finding]:
        for folder in self.tree:
            if folder.name == DEFAULT or not folder.exists or folder.obstacle:
                continue
            if _is_broken(folder) or self._is_mirrored(folder):
                continue
            path = f"{self.root}/{folder.name}"
            empty = folder.hosts is None and not folder.certificates
            yield Finding(
                Check.SHADOWED,
                "error" if empty else "warning",
                f"{folder.name} is not mirrored: its folder keeps containerd from looking into _default",
                f"{path} is empty" if empty else f"{path} is there, and names no mirror of ours",
                f"rmdir {path}" if empty else f"{_APPLY} --prepend-existing",
            )

    def _is_mirrored(self, folder: Folder) -> bool:
        named = set(map(_plain, _hosts_of(folder)))
        return folder.standing is Standing.OURS or any(_plain(target) in named for target in self.targets)


def examine_mirror(url: str, answer: MirrorAnswer) -> Iterator[Finding]:
    if answer.reason:
        yield Finding(
            Check.REACHED,
            "error",
            "the mirror that containerd is sent to does not answer, so it goes upstream",
            f"{url}: {answer.reason}",
            "start this node's registry, and let HELIOGRAPH_MIRROR_TARGETS name where the node itself "
            "reaches it (in the cluster: the node's own address and the host port)",
        )
    elif answer.is_heliograph is False:
        yield Finding(
            Check.HELIOGRAPH,
            "error",
            "something else answers where containerd looks for the mirror",
            f"{url}/v2/: {answer.seen}",
            "give the registry a port of its own: HELIOGRAPH_REGISTRY_LISTEN, and HELIOGRAPH_MIRROR_TARGETS "
            f"with it, then `{_APPLY}`",
        )


def unreadable(root: str, reason: str) -> Finding:
    return Finding(
        Check.CERTS,
        "error",
        "certs.d cannot be read, so what containerd is told is not known",
        reason,
        f"run as root, with HELIOGRAPH_REGISTRY_CONFIG_PATH={root} being the folder that config_path names",
    )


def _traps(path: str, document: Mapping[str, Any]) -> Iterator[Finding]:
    for url, table in document.get("host", {}).items():
        if "dial_timeout" in table and not isinstance(table["dial_timeout"], str):
            problem = "dial_timeout is not text: containerd 2 ignores the whole file"
            remedy = f'in {path}: dial_timeout = "200ms"'
            yield Finding(Check.HOSTS, "error", problem, f"{path}: host {url}", remedy)
        if "[" in url:
            problem = "a host is written with brackets: containerd 1.6 and 1.7 ignore the whole file"
            remedy = f"in {path}, write the host as {_plain(url)}"
            yield Finding(Check.HOSTS, "warning", problem, f"{path}: host {url}", remedy)
        if url.startswith("http://") and table.get("skip_verify") is True:
            problem = "skip_verify for an http host makes containerd try TLS there first"
            remedy = f"in {path}, take skip_verify out of {url}"
            yield Finding(Check.HOSTS, "warning", problem, f"{path}: host {url}", remedy)


def _hosts_of(folder: Folder) -> Iterator[str]:
    """The URLs of the file's hosts, in order; none where it is broken."""
    yield from (_document(folder) or {}).get("host", {})


def _is_broken(folder: Folder) -> bool:
    return folder.hosts is not None and _document(folder) is None


def _document(folder: Folder) -> Mapping[str, Any] | None:
    """What the file says; None where there is none, or where it is broken."""
    if folder.hosts is None:
        return None
    try:
        return hosts_toml.parse(folder.hosts.content)
    except BrokenHosts:
        return None


def _plain(url: str) -> str:
    """For comparison: IPv6 addresses without brackets, no slash at the end."""
    return url.replace("[", "").replace("]", "").rstrip("/")
