"""certs.d on disk. A step is: claim, change, and for a restoration forget; each part durable before the next.

Files are replaced by a rename within their folder. A folder that is new appears with its `hosts.toml` in one
rename, for an empty one would keep containerd from looking into `_default`. One configurator works at a time.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import assert_never

from heliograph_configurator.adapters.disk import Disk
from heliograph_configurator.adapters.record import Record
from heliograph_configurator.domain.folder import Folder, HostsFile, Tree
from heliograph_configurator.domain.plan import Release, Restore, Step, Write
from heliograph_configurator.domain.registry import is_looked_up
from heliograph_configurator.errors import Busy, PathUnusable, StepFailed

HOSTS = "hosts.toml"
TEMPORARY = ".hosts.toml.heliograph"
MAX_HOSTS_BYTES = 1 << 20
LOCK_TIMEOUT_S = 10.0

_CERTIFICATES = (".crt", ".cert", ".key")


class CertsFolder:
    """`made` are the folders that were made for it to be there, outermost first."""

    def __init__(self, root: Path, disk: Disk, made: tuple[Path, ...] = ()) -> None:
        self._root, self._disk, self._made = root, disk, made
        self._record = Record(root, disk)

    def read(self) -> Tree:
        self._record.load()
        try:
            there = [entry.name for entry in os.scandir(self._root)] if self._root.exists() else []
        except OSError as error:
            raise PathUnusable(self._root, _reason(error)) from error
        names = {*filter(is_looked_up, there), *self._record.claimed}
        return Tree({name: self._folder(name) for name in sorted(names)})

    def execute(self, step: Step) -> None:
        try:
            self._execute(step)
        except OSError as error:
            raise StepFailed(self._root / step.folder, _reason(error)) from error

    def tidy(self) -> None:
        made = self._record.made or self._made
        try:
            for folder in self._record.claimed:
                self._drop_temporary(self._root / folder)
            if self._record.claimed:
                return
            self._record.remove()
            for path in reversed(made):
                self._disk.remove_if_empty(path)
        except OSError as error:
            raise StepFailed(self._record.folder, _reason(error)) from error

    def _folder(self, name: str) -> Folder:
        path = self._root / name
        claim = self._record.claim_of(name)
        try:
            mode = path.lstat().st_mode
            if not stat.S_ISDIR(mode):
                return Folder(name, True, claim=claim, obstacle=f"{_kind(mode)}, not a folder")
            certificates = tuple(sorted(_certificates(path)))
            return Folder(name, True, _hosts(path / HOSTS), certificates, claim)
        except FileNotFoundError:
            return Folder(name, claim=claim)
        except OSError as error:
            return Folder(name, True, claim=claim, obstacle=_reason(error))

    def _execute(self, step: Step) -> None:
        match step:
            case Write():
                self._record.claim(step.folder, step.claim, self._made)
                self._put(self._root / step.folder, step.file)
            case Restore():
                if step.claim.original is not None:
                    self._put(self._root / step.folder, step.claim.original)
                else:
                    self._take_out(self._root / step.folder, folder_existed=step.claim.folder_existed)
                self._record.forget(step.folder)
            case Release():
                self._drop_temporary(self._root / step.folder)
                self._record.forget(step.folder)
            case _:
                assert_never(step)

    def _put(self, folder: Path, file: HostsFile) -> None:
        if not folder.exists():
            self._put_with_folder(folder, file)
            return
        temporary = folder / TEMPORARY
        try:
            self._disk.write(temporary, file.content, file.mode)
            self._disk.rename(temporary, folder / HOSTS)
        except OSError:
            with suppress(OSError):  # the error that is raised says why
                temporary.unlink(missing_ok=True)
            raise

    def _put_with_folder(self, folder: Path, file: HostsFile) -> None:
        staged = self._record.staged
        if not staged.exists():
            self._disk.make_folder(staged, 0o755)
        self._disk.write(staged / HOSTS, file.content, file.mode)
        self._disk.rename(staged, folder)

    def _take_out(self, folder: Path, *, folder_existed: bool) -> None:
        self._drop_temporary(folder)
        if (folder / HOSTS).exists():
            self._disk.remove(folder / HOSTS)
        if not folder_existed:
            self._disk.remove_if_empty(folder)

    def _drop_temporary(self, folder: Path) -> None:
        """One that a crash has left."""
        if (folder / TEMPORARY).exists():
            self._disk.remove(folder / TEMPORARY)


@contextmanager
def open_certs_folder(root: Path, *, create: bool, disk: Disk | None = None) -> Iterator[CertsFolder]:
    """Have it for oneself while the body runs; made first when `create`, else it may be absent.

    Raises `PathUnusable`, or `Busy` when another configurator stays longer than 10 s.
    """
    disk = disk or Disk()
    try:
        made = _make(root, disk) if create else ()
        descriptor = _opened(root)
    except OSError as error:
        raise PathUnusable(root, _reason(error)) from error
    if descriptor is None:
        yield CertsFolder(root, disk)
        return
    try:
        _lock(descriptor, root)
        yield CertsFolder(root, disk, made)
    finally:
        os.close(descriptor)


def _make(root: Path, disk: Disk) -> tuple[Path, ...]:
    missing = [path for path in (root, *root.parents) if not path.exists()]
    for path in reversed(missing):
        disk.make_folder(path, 0o755)
    return tuple(reversed(missing))


def _opened(root: Path) -> int | None:
    """None when it is absent."""
    if not os.path.lexists(root):
        return None
    return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _lock(descriptor: int, root: Path) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise Busy(root) from error
            time.sleep(0.05)
        except OSError as error:
            raise PathUnusable(root, _reason(error)) from error
        else:
            return


def _hosts(path: Path) -> HostsFile | None:
    """Raises `OSError` when it is there but not a plain, readable file of a sensible size."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise OSError(f"{HOSTS} is {_kind(mode)}, not a file")
    with path.open("rb") as file:
        content = file.read(MAX_HOSTS_BYTES + 1)
    if len(content) > MAX_HOSTS_BYTES:
        raise OSError(f"{HOSTS} is larger than {MAX_HOSTS_BYTES} bytes")
    return HostsFile(content, stat.S_IMODE(mode))


def _certificates(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(_CERTIFICATES) and not entry.is_dir():
                yield entry.name


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a file" if stat.S_ISREG(mode) else "a special file"


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
