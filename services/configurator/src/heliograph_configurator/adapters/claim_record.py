"""The configurator's own folder in certs.d: the claimed folders, and the original files that were replaced.

Its name starts with a dot, which no registry's name does, so containerd never looks into it:

    .heliograph/record.json                the claims
    .heliograph/originals/<folder>.toml    the files that were found, or copies of them
    .heliograph/damaged/<folder>.toml      the last file that was found damaged and written again
    .heliograph/staged/                    a new folder while it is being prepared
    .heliograph/removed/                   a folder of ours while it is being removed

None of them may be a symbolic link, which could lead anywhere.

A claim is valid once it is in record.json. Its original is saved before that, and deleted after the claim is
dropped, or moved back after the claim says so. record.json, empty at first, is written before any original,
so that its loss is noticed.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from heliograph_configurator.adapters.disk import Disk
from heliograph_configurator.domain.folder import Claim, HostsFile
from heliograph_configurator.errors import RecordUnusable

FOLDER = ".heliograph"


class _ClaimEntry(BaseModel):
    model_config = ConfigDict(strict=True)

    folder_existed: bool
    hosts_existed: bool
    written: list[str]
    restoring: bool = False


class _RecordFile(BaseModel):
    model_config = ConfigDict(strict=True)

    version: Literal[1] = 1
    made: list[str] = []
    claims: dict[str, _ClaimEntry] = {}


class ClaimRecord:
    """Mirrors record.json in memory; used by one process at a time."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self._disk = disk
        self.folder = root / FOLDER
        self._file = self.folder / "record.json"
        self._originals = self.folder / "originals"
        self._damaged = self.folder / "damaged"
        self.staged = self.folder / "staged"
        self.removed = self.folder / "removed"
        self._recorded = _RecordFile()

    def load(self) -> None:
        """Raises `RecordUnusable`."""
        folders = (self.folder, self._originals, self._damaged, self.staged, self.removed)
        for path in (*folders, self._file):
            if path.is_symlink():
                raise RecordUnusable(path, "a symbolic link, which is not followed")
        try:
            self._recorded = _RecordFile.model_validate_json(self._file.read_bytes())
        except FileNotFoundError as error:
            if any(self._originals.glob("*.toml")):
                raise RecordUnusable(self._file, "lost, but originals are saved beside it") from error
            self._recorded = _RecordFile()
        except OSError as error:
            raise RecordUnusable(self._file, error.strerror or str(error)) from error
        except ValidationError as error:
            reason = str(error.errors(include_url=False)[0]["msg"])
            raise RecordUnusable(self._file, f"not a valid record: {reason}") from error

    @property
    def claimed(self) -> tuple[str, ...]:
        return tuple(self._recorded.claims)

    @property
    def created(self) -> tuple[Path, ...]:
        """The folders that were created for certs.d, down to itself, outermost first."""
        return tuple(map(Path, self._recorded.made))

    def claim_of(self, folder: str) -> Claim | None:
        """None if the folder is not claimed. Raises `RecordUnusable` if its original cannot be read.

        The claim of a folder whose original is back in it names none.
        """
        claim = self._recorded.claims.get(folder)
        if claim is None:
            return None
        original = self._saved(folder) if claim.hosts_existed else None
        if claim.hosts_existed and original is None and not claim.restoring:
            raise RecordUnusable(self.original_path(folder), os.strerror(errno.ENOENT))
        return Claim(original, claim.folder_existed, tuple(claim.written))

    def claim(self, folder: str, claim: Claim, created: tuple[Path, ...], found: Path) -> None:
        """Record a new claim or a changed one; `found` is the folder's `hosts.toml`. Raises `OSError`."""
        for path in (self.folder, self._originals):
            if not path.is_dir():
                self._disk.make_folder(path, 0o700)
        if not self._file.exists():
            self._replace(self._file, _encoded(self._recorded), 0o600)
        if claim.original is not None and claim.original != self._saved(folder):
            temporary = self._originals / f"{folder}.toml.new"
            if _has(found, claim.original.content):
                self._disk.copy(found, temporary)
            else:
                self._disk.write(temporary, claim.original.content, claim.original.mode)
            self._disk.rename(temporary, self.original_path(folder))
        entry = _ClaimEntry(
            folder_existed=claim.folder_existed,
            hosts_existed=claim.original is not None,
            written=list(claim.written),
        )
        self._save({**self._recorded.claims, folder: entry}, self._recorded.made or list(map(str, created)))

    def is_saved(self, folder: str, original: HostsFile) -> bool:
        return _has(self.original_path(folder), original.content)

    def is_restoring(self, folder: str) -> bool:
        """True if the original has been moved back, or was about to be."""
        return self._recorded.claims[folder].restoring

    def restoring(self, folder: str) -> None:
        """The original is about to be moved back into its folder. Raises `OSError`."""
        entry = self._recorded.claims[folder].model_copy(update={"restoring": True})
        self._save({**self._recorded.claims, folder: entry}, self._recorded.made)

    def keep_damaged(self, folder: str, file: HostsFile) -> None:
        """Save the damaged file of a claimed folder. Raises `OSError`."""
        if not self._damaged.is_dir():
            self._disk.make_folder(self._damaged, 0o700)
        self._replace(self._damaged / f"{folder}.toml", file.content, file.mode)

    def drop(self, folder: str) -> None:
        """Drop the claim, then delete its original. Raises `OSError`."""
        claims = {name: claim for name, claim in self._recorded.claims.items() if name != folder}
        self._save(claims, self._recorded.made)
        if self.original_path(folder).exists():
            self._disk.remove(self.original_path(folder))

    def remove(self) -> None:
        """Delete the whole folder, once nothing is claimed. Raises `OSError`."""
        if not self.folder.is_dir():
            return
        patterns = ("staged/*", "removed/*", "damaged/*", "originals/*", "record.json.new", "record.json")
        for pattern in patterns:
            for path in sorted(self.folder.glob(pattern)):
                self._disk.remove(path)
        for folder in (self.staged, self.removed, self._damaged, self._originals, self.folder):
            self._disk.remove_if_empty(folder)

    def _save(self, claims: dict[str, _ClaimEntry], created: list[str]) -> None:
        recorded = _RecordFile(made=created, claims=claims)
        if recorded != self._recorded:
            self._replace(self._file, _encoded(recorded), 0o600)
            self._recorded = recorded

    def original_path(self, folder: str) -> Path:
        return self._originals / f"{folder}.toml"

    def _saved(self, folder: str) -> HostsFile | None:
        path = self.original_path(folder)
        if path.is_symlink():
            raise RecordUnusable(path, "a symbolic link, which is not followed")
        try:
            return HostsFile(path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RecordUnusable(path, error.strerror or str(error)) from error

    def _replace(self, path: Path, content: bytes, mode: int) -> None:
        temporary = path.with_name(f"{path.name}.new")
        self._disk.write(temporary, content, mode)
        self._disk.rename(temporary, path)


def _has(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _encoded(recorded: _RecordFile) -> bytes:
    return recorded.model_dump_json(indent=2).encode() + b"\n"
