"""Makes contents of certs.d, runs the configurator on them, and reads what is on disk then."""

import os
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heliograph_configurator.adapters.disk import Disk
from heliograph_configurator.adapters.filesystem import open_certs_folder
from heliograph_configurator.domain.hosts_toml import HEADING
from heliograph_configurator.domain.mirror import NO_TLS, MirrorHosts, MirrorTls
from heliograph_configurator.domain.registry import UpstreamRegistry
from heliograph_configurator.service import Configurator

MEMORY = Path("/dev/shm")
TARGET = "http://127.0.0.1:5000"
EXISTING = b'server = "https://quay.io"\n\n[host."https://proxy.test"]\n  ca = "proxy.crt"\n'

EDITED = HEADING.encode() + b"# mine\n"
"""What is left of a file of ours that somebody has edited by hand."""

Entry = tuple[str, bytes, int]
"""Kind ("file", "link" or "folder"), content or target, and mode."""


@dataclass(frozen=True)
class Choice:
    """What the operator sets."""

    registries: tuple[str, ...] | None = None
    targets: tuple[str, ...] = (TARGET,)
    resolves_tags: bool = True
    prepend: bool = False
    additional: tuple[str, ...] = ()
    authorization: str = ""
    tls: MirrorTls = NO_TLS
    repair: bool = False
    later: tuple[Path, ...] = ()


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory if possible, where thousands of fsyncs cost nothing."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        yield Path(name)


def plant(root: Path, tree: Mapping[str, Entry]) -> None:
    for name, (kind, content, mode) in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link":
            path.symlink_to(content.decode())
            continue
        if kind == "folder":
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(content)
        path.chmod(mode)


def put(
    root: Path, folder: str, content: bytes = EXISTING, name: str = "hosts.toml", mode: int = 0o644
) -> Path:
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def hosts(root: Path, folder: str) -> dict[str, Any]:
    return tomllib.loads((root / folder / "hosts.toml").read_text())


def folders(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} - {".heliograph"}


def levels(logs: list[Any], level: str) -> list[Any]:
    return [entry for entry in logs if entry["log_level"] == level]


def harvest(root: Path) -> dict[str, Entry]:
    """Everything below `root`, by relative path."""
    return {str(path.relative_to(root)): _entry(path) for path in sorted(root.rglob("*"))}


def _entry(path: Path) -> Entry:
    mode = path.lstat().st_mode & 0o7777
    if path.is_symlink():
        return ("link", os.fsencode(path.readlink()), 0)
    if path.is_dir():
        return ("folder", b"", mode)
    return ("file", path.read_bytes(), mode)


def attributes(root: Path) -> dict[str, tuple[object, ...]]:
    """Owner, group, mode, extended attributes and time of every file below `root` that is not ours."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and ".heliograph" not in path.parts:
            status = path.stat()
            extended = {name: os.getxattr(path, name) for name in os.listxattr(path)}
            identity = (status.st_uid, status.st_gid, status.st_mode, status.st_mtime_ns)
            found[str(path.relative_to(root))] = (*identity, extended)
    return found


def apply(root: Path, choice: Choice, disk: Disk | None = None) -> bool:
    registries = None
    if choice.registries is not None:
        registries = tuple(UpstreamRegistry.parse(entry) for entry in choice.registries)
    with open_certs_folder(root, create=True, disk=disk, later=choice.later) as config:
        mirror = MirrorHosts(
            choice.targets,
            choice.resolves_tags,
            additional=choice.additional,
            authorization=choice.authorization,
            tls=choice.tls,
        )
        result = Configurator(config).apply(mirror, registries, prepend=choice.prepend, repair=choice.repair)
        return result.complete


def withdraw(root: Path, disk: Disk | None = None) -> bool:
    with open_certs_folder(root, create=False, disk=disk) as config:
        return Configurator(config).withdraw().complete


def cleanup(root: Path, disk: Disk | None = None) -> bool:
    with open_certs_folder(root, create=False, disk=disk) as config:
        return Configurator(config).cleanup().complete


class Crash(BaseException):
    """The process ends here: not an `Exception`, so no error handler runs."""


class FailingDisk(Disk):
    """Crashes after `steps` operations; a write at that point leaves half of the file."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def _step(self) -> bool:
        self._left -= 1
        return self._left < 0

    def write(self, path: Path, content: bytes, mode: int) -> None:
        if self._step():
            super().write(path, content[: len(content) // 2], 0o600)
            raise Crash
        super().write(path, content, mode)

    def rename(self, source: Path, target: Path) -> None:
        if self._step():
            raise Crash
        super().rename(source, target)

    def exchange(self, first: Path, second: Path) -> bool:
        if self._step():
            raise Crash
        return super().exchange(first, second)

    def remove(self, path: Path) -> None:
        if self._step():
            raise Crash
        super().remove(path)

    def make_folder(self, path: Path, mode: int) -> None:
        if self._step():
            raise Crash
        super().make_folder(path, mode)

    def remove_if_empty(self, path: Path) -> None:
        if self._step():
            raise Crash
        super().remove_if_empty(path)
