"""The files of one registry's folder: `hosts.toml`, and the TLS files of ours that it names.

Each file is replaced by a rename within the folder. A TLS file is written before the `hosts.toml` that names
it and removed after it, since containerd fails a pull if a named file is missing. A new folder is prepared
elsewhere and renamed, and one of ours is renamed before it is emptied, since an empty folder would keep
containerd from using `_default`.

An original that is replaced changes places with the new file and is moved, so that it keeps its owner, group,
extended attributes and times, which a process without capabilities could not set.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from heliograph_configurator.adapters.disk import Disk
from heliograph_configurator.domain.folder import HostsFile
from heliograph_configurator.domain.mirror import CA_FILE, CLIENT_FILE, MirrorTls

HOSTS = "hosts.toml"
MAX_FILE_BYTES = 1 << 20
CERTIFICATES = (".crt", ".cert", ".key")
"""What containerd takes for certificates and keys of the registry if there is no `hosts.toml`."""

_TLS_MODES = {CA_FILE: 0o644, CLIENT_FILE: 0o600}


def temporary_of(name: str) -> str:
    return f".{name.removeprefix('.')}.heliograph"


class RegistryFolder:
    """All methods raise `OSError`."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path, self._disk = path, disk

    def hosts(self) -> HostsFile | None:
        return _regular_file(self.path / HOSTS)

    def tls(self) -> MirrorTls:
        """A key that others may read counts as missing, and so does an empty file."""
        ca, client = _regular_file(self.path / CA_FILE), _regular_file(self.path / CLIENT_FILE)
        if client is not None and client.mode & 0o077:
            client = None
        return MirrorTls(ca.content if ca else b"", client.content if client else b"")

    def certificates(self) -> tuple[str, ...]:
        """Names of the certificates and keys that containerd uses if there is no `hosts.toml`."""
        with os.scandir(self.path) as entries:
            named = (entry.name for entry in entries if not entry.is_dir())
            return tuple(sorted(name for name in named if name.endswith(CERTIFICATES)))

    def write(self, file: HostsFile, tls: MirrorTls, staged: Path, save_at: Path | None = None) -> None:
        """A folder that does not exist yet is prepared at `staged` and renamed.

        `save_at` is where the `hosts.toml` that is there now is moved to.
        """
        if not self.path.exists():
            if not staged.exists():
                self._disk.make_folder(staged, 0o755)
            for name, content, mode in _files(file, tls):
                self._disk.write(staged / name, content, mode)
            for name in _TLS_MODES.keys() - tls.files.keys():
                self._remove_file(staged / name)
            self._disk.rename(staged, self.path)
            return
        for name, content, mode in _files(file, tls):
            self._replace(name, content, mode, save_at if name == HOSTS else None)
        self._remove_temporaries()
        self._remove_tls(_TLS_MODES.keys() - tls.files.keys())

    def restore(self, original: Path, staged: Path) -> None:
        """Move the original back, and remove our files. A missing folder is prepared at `staged`."""
        if not self.path.exists():
            if not staged.exists():
                self._disk.make_folder(staged, 0o755)
            self._disk.copy(original, staged / HOSTS)
            self._disk.rename(staged, self.path)
            return
        try:
            self._disk.rename(original, self.path / HOSTS)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            temporary = self.path / temporary_of(HOSTS)
            self._disk.copy(original, temporary)
            self._disk.rename(temporary, self.path / HOSTS)
        self.clear_tls()

    def clear_tls(self) -> None:
        """Remove all files of ours but `hosts.toml`."""
        self._remove_temporaries()
        self._remove_tls(_TLS_MODES)

    def rescue(self, save_at: Path) -> None:
        """A crash after an exchange has left the original under the temporary name: move it to `save_at`."""
        temporary = _regular_file(self.path / temporary_of(HOSTS))
        saved = _regular_file(save_at)
        if temporary is not None and saved is not None and temporary.content == saved.content:
            self._disk.rename(self.path / temporary_of(HOSTS), save_at)

    def remove(self, *, folder_existed: bool, away: Path) -> None:
        """Remove our files, and the folder if it is empty then and did not exist before us.

        A folder with nothing but our files is renamed to `away` first.
        """
        if not folder_existed and self._move_away(away):
            return
        self._remove_temporaries()
        self._remove_file(self.path / HOSTS)
        self._remove_tls(_TLS_MODES)
        if not folder_existed:
            self._disk.remove_if_empty(self.path)

    def tidy(self) -> None:
        """Remove temporary files, and TLS files of ours that `hosts.toml` does not name."""
        self._remove_temporaries()
        hosts = self.hosts()
        self._remove_tls(name for name in _TLS_MODES if hosts is None or name.encode() not in hosts.content)

    def _remove_temporaries(self) -> None:
        for name in (HOSTS, *_TLS_MODES):
            self._remove_file(self.path / temporary_of(name))

    def _move_away(self, away: Path) -> bool:
        """False if the folder has other files too, or cannot be renamed, such as a mount point."""
        if not self.path.exists():
            return True
        ours = {HOSTS, *_TLS_MODES}
        if {path.name for path in self.path.iterdir()} - ours - set(map(temporary_of, ours)):
            return False
        clear(away, self._disk)
        try:
            self._disk.rename(self.path, away)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EBUSY, errno.ENOTEMPTY}:
                raise
            return False
        clear(away, self._disk)
        return True

    def _replace(self, name: str, content: bytes, mode: int, save_at: Path | None) -> None:
        if _regular_file(self.path / name) == HostsFile(content, mode):
            return
        temporary = self.path / temporary_of(name)
        try:
            self._disk.write(temporary, content, mode)
            if save_at is None or not self._disk.exchange(temporary, self.path / name):
                self._disk.rename(temporary, self.path / name)
            else:
                self._disk.rename(temporary, save_at)
        except OSError:
            with suppress(OSError):  # the first error is the one to report
                temporary.unlink(missing_ok=True)
            raise

    def _remove_tls(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            self._remove_file(self.path / name)

    def _remove_file(self, path: Path) -> None:
        if path.exists():
            self._disk.remove(path)


def clear(folder: Path, disk: Disk) -> None:
    """Remove a folder of the configurator's own with its files, if it exists. Raises `OSError`."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            disk.remove(path)
        disk.remove_if_empty(folder)


def fails_pulls(path: Path) -> bool:
    """True if containerd cannot read the folder at `path`, and so fails every pull for which it looks there.

    It follows links, goes on if there is nothing, and takes any other error for a failure.
    """
    for place, is_usable in ((path, stat.S_ISDIR), (path / HOSTS, stat.S_ISREG)):
        try:
            mode = place.stat().st_mode
        except FileNotFoundError:
            return False
        except PermissionError:  # containerd is root
            return False
        except OSError:
            return True
        if not is_usable(mode):
            return True
    return False


def kind_of(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a file" if stat.S_ISREG(mode) else "a special file"


def _files(file: HostsFile, tls: MirrorTls) -> Iterator[tuple[str, bytes, int]]:
    """`hosts.toml` comes last."""
    for name, pem in tls.files.items():
        yield name, pem, _TLS_MODES[name]
    yield HOSTS, file.content, file.mode


def _regular_file(path: Path) -> HostsFile | None:
    """None if it does not exist. Raises `OSError` if it is not a readable regular file of at most 1 MiB."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise OSError(f"{path.name} is {kind_of(mode)}, not a file")
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
    return HostsFile(content, stat.S_IMODE(mode))
