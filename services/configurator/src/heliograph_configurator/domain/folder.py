"""One registry's folder in certs.d: what is there now, what was there originally, and who wrote it. Pure.

Original means: as it was before the configurator changed anything. Tools such as k3s write their files again
at every start: a file that parses and lacks our heading is the new original.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from heliograph_configurator.domain import hosts_toml
from heliograph_configurator.domain.hosts_toml import BrokenHosts
from heliograph_configurator.domain.mirror import NO_TLS, MirrorTls
from heliograph_configurator.domain.registry import DEFAULT, UpstreamRegistry, plain


@dataclass(frozen=True, slots=True)
class HostsFile:
    """A `hosts.toml`; `mode` is its permission bits."""

    content: bytes
    mode: int

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Claim:
    """A folder that the configurator manages, recorded before anything in it is changed.

    `original` and `folder_existed` are what was found. `written` are the fingerprints that our own file may
    have: of what was last written, and of what was about to be written over it.
    """

    original: HostsFile | None
    folder_existed: bool
    written: tuple[str, ...]


class Ownership(Enum):
    """Who wrote the `hosts.toml` in a folder."""

    FOREIGN = auto()  # the folder was never claimed; there may be no file
    ORIGINAL = auto()  # claimed, but the original is still there, or there again
    REPLACED = auto()  # claimed, but another program has written a file of its own, the new original
    OURS = auto()
    MISSING = auto()  # claimed, but there is no file
    EDITED = auto()  # claimed, but somebody else has changed our file, or left it empty or broken


@dataclass(frozen=True, slots=True)
class Folder:
    """What is there now. `certificates` are names of certificates and keys beside `hosts.toml`.

    `tls` is the content of the files that have the names of our own.
    `obstacle` says, for a person, why the folder cannot be used; nothing else is known of it then but whether
    it is a folder at all, and whether containerd `fails` every pull because of it.
    """

    name: str
    exists: bool = False
    hosts: HostsFile | None = None
    certificates: tuple[str, ...] = ()
    claim: Claim | None = None
    obstacle: str = ""
    tls: MirrorTls = NO_TLS
    is_folder: bool = True
    fails: bool = False

    @property
    def ownership(self) -> Ownership:
        if self.claim is None:
            return Ownership.FOREIGN
        original = self.claim.original
        if self.hosts is None:
            return Ownership.MISSING
        if self.hosts.fingerprint in self.claim.written:
            return Ownership.OURS
        if original is not None and self.hosts.content == original.content:
            return Ownership.ORIGINAL
        return Ownership.REPLACED if _is_foreign(self.hosts.content) else Ownership.EDITED

    @property
    def original(self) -> HostsFile | None:
        if self.claim is None or self.ownership in {Ownership.ORIGINAL, Ownership.REPLACED}:
            return self.hosts
        return self.claim.original

    @property
    def preexisting(self) -> bool:
        """True if the folder was there originally."""
        if self.claim is None:
            return self.exists
        return self.claim.folder_existed or self.ownership is Ownership.REPLACED


def _is_foreign(content: bytes) -> bool:
    """True if the whole file is somebody else's: a usable `hosts.toml` without our heading."""
    if hosts_toml.is_signed(content) or not content.strip():
        return False
    try:
        hosts_toml.parse(content)
    except BrokenHosts:
        return False
    return True


@dataclass(frozen=True, slots=True)
class LaterFolder:
    """A registry's folder in a later root: containerd uses it if no earlier root has one for the registry.

    `path` is its own, and `certificates` are full paths. Nothing else is known if there is an `obstacle`.
    """

    path: str
    hosts: HostsFile | None = None
    certificates: tuple[str, ...] = ()
    obstacle: str = ""


class Tree:
    """Every folder that containerd may look into, and every claimed one, of the first root.

    containerd's `config_path` may list several roots. `later` has what those after the first hold for each
    registry, as `host:port`, and for `_default`.
    """

    def __init__(self, folders: Mapping[str, Folder], later: Mapping[str, LaterFolder] | None = None) -> None:
        self._folders, self._later = folders, later or {}

    def __getitem__(self, name: str) -> Folder:
        return self._folders.get(name, Folder(name))

    def __iter__(self) -> Iterator[Folder]:
        return iter(self._folders.values())

    def inherited(self, name: str) -> LaterFolder | None:
        """What containerd would use for the registry, or for all others, without any folder of ours."""
        first = {name, plain(name), UpstreamRegistry(plain(name)).escaped_folder, DEFAULT}
        if any(self[one].preexisting for one in first):
            return None
        return self._later.get(plain(name))

    def only_later(self) -> tuple[str, ...]:
        """The registries whose folders a `_default` of ours in the first root would hide."""
        return tuple(name for name in self._later if name != DEFAULT and self.inherited(name) is not None)

    def folder_of(self, registry: UpstreamRegistry) -> Folder:
        """Where containerd finds the registry's hosts: `host_port_` when there is one, else `host:port`."""
        escaped = self[registry.escaped_folder]
        return escaped if escaped.exists or escaped.preexisting else self[registry.host]
