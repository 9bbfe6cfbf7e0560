"""certs.d on disk. One configurator works on it at a time.

A step records the claim and then changes the folder, or restores the folder and then drops the claim; each
part is durable before the next one begins.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import assert_never

from heliograph_configurator.adapters.claim_record import ClaimRecord
from heliograph_configurator.adapters.disk import Disk
from heliograph_configurator.adapters.later_roots import read_later
from heliograph_configurator.adapters.registry_folder import (
    HOSTS,
    RegistryFolder,
    clear,
    fails_pulls,
    kind_of,
)
from heliograph_configurator.domain.folder import Folder, Tree
from heliograph_configurator.domain.mirror import NO_TLS
from heliograph_configurator.domain.plan import ReleaseClaim, RestoreOriginal, Step, WriteHosts
from heliograph_configurator.domain.registry import is_looked_up
from heliograph_configurator.errors import FolderLocked, PathUnusable, StepFailed

LOCK_TIMEOUT_S = 10.0


class CertsFolder:
    """`created` are the folders that this run created, down to `root`, outermost first.

    `later` are the roots that containerd looks into after `root`; they are only read.
    """

    def __init__(
        self, root: Path, disk: Disk, created: tuple[Path, ...] = (), later: Sequence[Path] = ()
    ) -> None:
        self._root, self._disk, self._created, self._later = root, disk, created, later
        self._record = ClaimRecord(root, disk)

    def read(self) -> Tree:
        self._record.load()
        try:
            present = [entry.name for entry in os.scandir(self._root)] if self._root.exists() else []
        except OSError as error:
            raise PathUnusable(self._root, _reason(error)) from error
        names = {*filter(is_looked_up, present), *self._record.claimed}
        try:
            later = read_later(self._later)
        except OSError as error:
            raise PathUnusable(Path(error.filename or self._root), _reason(error)) from error
        return Tree({name: self._folder(name) for name in sorted(names)}, later)

    def execute(self, step: Step) -> None:
        try:
            self._execute(step)
        except OSError as error:
            raise StepFailed(self._root / step.folder, _reason(error)) from error

    def tidy(self) -> None:
        created = self._record.created or self._created
        try:
            clear(self._record.removed, self._disk)
            for folder in self._record.claimed:
                self._files(folder).rescue(self._record.original_path(folder))
                self._files(folder).tidy()
            if self._record.claimed:
                return
            self._record.remove()
            for path in reversed(created):
                self._disk.remove_if_empty(path)
        except OSError as error:
            raise StepFailed(self._record.folder, _reason(error)) from error

    def _folder(self, name: str) -> Folder:
        path = self._root / name
        claim = self._record.claim_of(name)
        try:
            mode = path.lstat().st_mode
            if not stat.S_ISDIR(mode):
                obstacle, is_folder = f"{kind_of(mode)}, not a folder", path.is_dir()
                return Folder(
                    name, True, claim=claim, obstacle=obstacle, is_folder=is_folder, fails=fails_pulls(path)
                )
            files = self._files(name)
            hosts = files.hosts()
            if claim is not None and claim.original is None and self._record.is_restoring(name):
                claim = replace(claim, original=hosts)
            return Folder(name, True, hosts, files.certificates(), claim, tls=files.tls())
        except FileNotFoundError:
            return Folder(name, claim=claim)
        except OSError as error:
            return Folder(name, True, claim=claim, obstacle=_reason(error), fails=fails_pulls(path))

    def _execute(self, step: Step) -> None:
        files, saved = self._files(step.folder), self._record.original_path(step.folder)
        files.rescue(saved)
        match step:
            case WriteHosts():
                self._record.claim(step.folder, step.claim, self._created, files.path / HOSTS)
                if step.damaged is not None:
                    self._record.keep_damaged(step.folder, step.damaged)
                in_place = step.claim.original is not None and files.hosts() == step.claim.original
                files.write(step.file, step.tls, self._record.staged, saved if in_place else None)
            case RestoreOriginal():
                self._restore(step, files)
                self._record.drop(step.folder)
            case ReleaseClaim():
                files.tidy()
                self._record.drop(step.folder)
            case _:
                assert_never(step)

    def _restore(self, step: RestoreOriginal, files: RegistryFolder) -> None:
        original = step.claim.original
        if original is None:
            files.remove(folder_existed=step.claim.folder_existed, away=self._record.removed)
        elif files.hosts() == original:
            files.clear_tls()
        elif self._record.is_saved(step.folder, original):
            self._record.restoring(step.folder)
            files.restore(self._record.original_path(step.folder), self._record.staged)
        else:
            files.write(original, NO_TLS, self._record.staged)

    def _files(self, folder: str) -> RegistryFolder:
        return RegistryFolder(self._root / folder, self._disk)


@contextmanager
def open_certs_folder(
    root: Path, *, create: bool, disk: Disk | None = None, later: Sequence[Path] = ()
) -> Iterator[CertsFolder]:
    """Lock certs.d while the body runs. `create` creates it first; otherwise it may be absent.

    `later` are the roots that containerd looks into after this one.

    Raises `PathUnusable`, or `FolderLocked` if another configurator holds the lock for more than 10 s.
    """
    disk = disk or Disk()
    try:
        created = _create(root, disk) if create else ()
        descriptor = _opened(root)
    except OSError as error:
        raise PathUnusable(root, _reason(error)) from error
    if descriptor is None:
        yield CertsFolder(root, disk, later=later)
        return
    try:
        _lock(descriptor, root)
        yield CertsFolder(root, disk, created, later)
    finally:
        os.close(descriptor)


def _create(root: Path, disk: Disk) -> tuple[Path, ...]:
    missing = [path for path in (root, *root.parents) if not path.exists()]
    for path in reversed(missing):
        disk.make_folder(path, 0o755)
    return tuple(reversed(missing))


def _opened(root: Path) -> int | None:
    """A file descriptor; None if the folder is absent."""
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
                raise FolderLocked(root) from error
            time.sleep(0.05)
        except OSError as error:
            raise PathUnusable(root, _reason(error)) from error
        else:
            return


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
