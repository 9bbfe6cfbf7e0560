"""What the operator is told about a folder of certs.d when a plan is made. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LeftEdited:
    """Somebody has changed our file; `original_kept` if we found a file there, which is still saved."""

    folder: str
    original_kept: bool


@dataclass(frozen=True, slots=True)
class Repaired:
    """Our file was empty or broken and is written again; the damaged one is saved."""

    folder: str
    reason: str


@dataclass(frozen=True, slots=True)
class NewOriginal:
    """Another program has written its own file over ours; it is the original from now on."""

    folder: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """The operator's own `hosts.toml` does not apply any more."""

    folder: str


@dataclass(frozen=True, slots=True)
class PartlyIgnored:
    """Some versions of containerd ignore the original; they may read what is written from it."""

    folder: str
    versions: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class OverridesDefault:
    """The operator's `_default` does not apply any more to a registry that gets a folder of its own."""

    folder: str


@dataclass(frozen=True, slots=True)
class ShadowsDefault:
    """The registry is not mirrored by `_default`, since containerd uses this folder instead."""

    folder: str


@dataclass(frozen=True, slots=True)
class UnusableFolder:
    """The folder cannot be changed, and was left."""

    folder: str
    reason: str


@dataclass(frozen=True, slots=True)
class UnparsableFile:
    """The existing file has to be kept after the mirrors, but containerd ignores it, or it cannot be kept."""

    folder: str
    line: int
    reason: str


Note = (
    LeftEdited
    | Repaired
    | NewOriginal
    | Replaced
    | OverridesDefault
    | ShadowsDefault
    | UnusableFolder
    | UnparsableFile
    | PartlyIgnored
)
