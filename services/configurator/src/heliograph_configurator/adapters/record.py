"""Our own folder in certs.d: which folders we have claimed, and the originals of what we replaced.

Its name starts with a dot, which no registry's can, so containerd never looks into it:

    .heliograph/record.json                what is claimed
    .heliograph/originals/<folder>.toml    bytes and mode as they were found
    .heliograph/damaged/<folder>.toml      what was last found broken and written anew
    .heliograph/staged/                    a new folder on its way, while a step is taken

A claim counts once it is in the record; its original is saved before that, and removed after it is gone. The
record itself, empty at first, is there before any original, so that one that is lost is noticed.
"""

import stat
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from heliograph_configurator.adapters.disk import Disk
from heliograph_configurator.domain.folder import Claim, HostsFile
from heliograph_configurator.errors import RecordUnusable

FOLDER = ".heliograph"


class _Claim(BaseModel):
    model_config = ConfigDict(strict=True)

    folder_existed: bool
    hosts_existed: bool
    written: list[str]


class _Content(BaseModel):
    model_config = ConfigDict(strict=True)

    version: Literal[1] = 1
    made: list[str] = []
    claims: dict[str, _Claim] = {}


class Record:
    """Kept in memory as it is on disk; one process at a time."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self._disk = disk
        self.folder = root / FOLDER
        self._file = self.folder / "record.json"
        self._originals = self.folder / "originals"
        self._damaged = self.folder / "damaged"
        self.staged = self.folder / "staged"
        self._content = _Content()

    def load(self) -> None:
        """Raises `RecordUnusable`."""
        try:
            self._content = _Content.model_validate_json(self._file.read_bytes())
        except FileNotFoundError as error:
            if any(self._originals.glob("*.toml")):
                raise RecordUnusable(self._file, "lost, though originals are kept beside it") from error
            self._content = _Content()
        except OSError as error:
            raise RecordUnusable(self._file, error.strerror or str(error)) from error
        except ValidationError as error:
            reason = str(error.errors(include_url=False)[0]["msg"])
            raise RecordUnusable(self._file, f"not a record of ours: {reason}") from error

    @property
    def claimed(self) -> tuple[str, ...]:
        return tuple(self._content.claims)

    @property
    def made(self) -> tuple[Path, ...]:
        """The folders above and of certs.d that were made for us, outermost first."""
        return tuple(map(Path, self._content.made))

    def claim_of(self, folder: str) -> Claim | None:
        """None when it is not ours. Raises `RecordUnusable` when its original cannot be read."""
        claim = self._content.claims.get(folder)
        if claim is None:
            return None
        original = self._original(folder) if claim.hosts_existed else None
        return Claim(original, claim.folder_existed, tuple(claim.written))

    def claim(self, folder: str, claim: Claim, made: tuple[Path, ...]) -> None:
        """Make a new claim or a changed one count. Raises `OSError`."""
        for path in (self.folder, self._originals):
            if not path.is_dir():
                self._disk.make_folder(path, 0o700)
        if not self._file.exists():
            self._replace(self._file, _encoded(self._content), 0o600)
        if claim.original is not None and folder not in self._content.claims:
            self._replace(self._saved(folder), claim.original.content, claim.original.mode)
        kept = _Claim(
            folder_existed=claim.folder_existed,
            hosts_existed=claim.original is not None,
            written=list(claim.written),
        )
        self._keep({**self._content.claims, folder: kept}, self._content.made or list(map(str, made)))

    def keep_damaged(self, folder: str, file: HostsFile) -> None:
        """Of a claimed folder. Raises `OSError`."""
        if not self._damaged.is_dir():
            self._disk.make_folder(self._damaged, 0o700)
        self._replace(self._damaged / f"{folder}.toml", file.content, file.mode)

    def forget(self, folder: str) -> None:
        """Raises `OSError`."""
        claims = {name: claim for name, claim in self._content.claims.items() if name != folder}
        self._keep(claims, self._content.made)
        if self._saved(folder).exists():
            self._disk.remove(self._saved(folder))

    def remove(self) -> None:
        """All that is ours, once nothing is claimed. Raises `OSError`."""
        if not self.folder.is_dir():
            return
        ours = ("staged/*", "damaged/*", "originals/*", "record.json.new", "record.json")
        for pattern in ours:
            for path in sorted(self.folder.glob(pattern)):
                self._disk.remove(path)
        for folder in (self.staged, self._damaged, self._originals, self.folder):
            self._disk.remove_if_empty(folder)

    def _keep(self, claims: dict[str, _Claim], made: list[str]) -> None:
        content = _Content(made=made, claims=claims)
        if content != self._content:
            self._replace(self._file, _encoded(content), 0o600)
            self._content = content

    def _saved(self, folder: str) -> Path:
        return self._originals / f"{folder}.toml"

    def _original(self, folder: str) -> HostsFile:
        path = self._saved(folder)
        try:
            return HostsFile(path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
        except OSError as error:
            raise RecordUnusable(path, error.strerror or str(error)) from error

    def _replace(self, path: Path, content: bytes, mode: int) -> None:
        temporary = path.with_name(f"{path.name}.new")
        self._disk.write(temporary, content, mode)
        self._disk.rename(temporary, path)


def _encoded(content: _Content) -> bytes:
    return content.model_dump_json(indent=2).encode() + b"\n"
