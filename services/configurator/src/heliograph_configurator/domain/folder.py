"""One registry's folder in certs.d: what is there, what was there before us, and whose it is now. Pure."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from heliograph_configurator.domain.mirror import NO_TLS, Tls
from heliograph_configurator.domain.registry import Registry


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
    """A folder that we have taken over, recorded before anything in it is changed.

    `original` and `folder_existed` are what we found. `written` are the fingerprints that our own file may
    have: what we last wrote, and what we were about to write over it.
    """

    original: HostsFile | None
    folder_existed: bool
    written: tuple[str, ...]


class Standing(Enum):
    """Whose the `hosts.toml` in a folder is."""

    FOREIGN = auto()  # never ours, there or not
    ORIGINAL = auto()  # claimed, but what we found is there still, or again
    OURS = auto()
    MISSING = auto()  # claimed, but there is none
    EDITED = auto()  # claimed, but changed by someone else since


@dataclass(frozen=True, slots=True)
class Folder:
    """What is there now. `certificates` are names of certificates and keys beside `hosts.toml`.

    `tls` is what lies there under the names of ours.
    `obstacle` says, for a person, why the folder cannot be worked on; the rest is then not known.
    """

    name: str
    exists: bool = False
    hosts: HostsFile | None = None
    certificates: tuple[str, ...] = ()
    claim: Claim | None = None
    obstacle: str = ""
    tls: Tls = NO_TLS

    @property
    def standing(self) -> Standing:
        if self.claim is None:
            return Standing.FOREIGN
        original = self.claim.original
        if self.hosts is None:
            return Standing.MISSING
        if self.hosts.fingerprint in self.claim.written:
            return Standing.OURS
        if original is not None and self.hosts.content == original.content:
            return Standing.ORIGINAL
        return Standing.EDITED

    @property
    def original(self) -> HostsFile | None:
        """What was there before us."""
        return self.hosts if self.claim is None else self.claim.original

    @property
    def stays(self) -> bool:
        """Whether the folder is there without us."""
        return self.exists if self.claim is None else self.claim.folder_existed


class Tree:
    """Every folder that containerd would look into, and those that we have claimed."""

    def __init__(self, folders: Mapping[str, Folder]) -> None:
        self._folders = folders

    def __getitem__(self, name: str) -> Folder:
        return self._folders.get(name, Folder(name))

    def __iter__(self) -> Iterator[Folder]:
        return iter(self._folders.values())

    def folder_of(self, registry: Registry) -> Folder:
        """Where containerd finds the registry's hosts: `host_port_` when there is one, else `host:port`."""
        escaped = self[registry.escaped_folder]
        return escaped if escaped.exists or escaped.stays else self[registry.host]
