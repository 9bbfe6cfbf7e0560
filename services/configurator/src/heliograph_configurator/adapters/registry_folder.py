"""The files of one registry's folder: `hosts.toml`, and beside it what it names of ours.

Each is replaced by a rename within the folder. A file that `hosts.toml` names is there before it and goes
after it, for containerd fails a pull over one that is missing. A folder that is new appears with all of them
in one rename, for an empty one would keep containerd from looking into `_default`.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from heliograph_configurator.adapters.disk import Disk
from heliograph_configurator.domain.folder import HostsFile
from heliograph_configurator.domain.mirror import CA_FILE, CLIENT_FILE, Tls

HOSTS = "hosts.toml"
MAX_FILE_BYTES = 1 << 20

_TLS_MODES = {CA_FILE: 0o644, CLIENT_FILE: 0o600}
_CERTIFICATES = (".crt", ".cert", ".key")


def temporary_of(name: str) -> str:
    return f".{name.removeprefix('.')}.heliograph"


class RegistryFolder:
    """All methods raise `OSError`."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path, self._disk = path, disk

    def hosts(self) -> HostsFile | None:
        return _plain_file(self._path / HOSTS)

    def tls(self) -> Tls:
        """A key that others may read counts as missing, as does a file that is empty."""
        ca, client = _plain_file(self._path / CA_FILE), _plain_file(self._path / CLIENT_FILE)
        if client is not None and client.mode & 0o077:
            client = None
        return Tls(ca.content if ca else b"", client.content if client else b"")

    def certificates(self) -> tuple[str, ...]:
        """Names of certificates and keys that containerd uses where there is no `hosts.toml`."""
        with os.scandir(self._path) as entries:
            named = (entry.name for entry in entries if not entry.is_dir())
            return tuple(sorted(name for name in named if name.endswith(_CERTIFICATES)))

    def put(self, file: HostsFile, tls: Tls, staged: Path) -> None:
        """Make `staged` the folder where it is new."""
        if not self._path.exists():
            if not staged.exists():
                self._disk.make_folder(staged, 0o755)
            for name, content, mode in _all(file, tls):
                self._disk.write(staged / name, content, mode)
            for name in _TLS_MODES.keys() - tls.files.keys():
                self._remove(staged / name)
            self._disk.rename(staged, self._path)
            return
        for name, content, mode in _all(file, tls):
            self._replace(name, content, mode)
        self.drop_temporaries()
        self._drop_tls(_TLS_MODES.keys() - tls.files.keys())

    def take_out(self, *, folder_existed: bool) -> None:
        self.drop_temporaries()
        self._remove(self._path / HOSTS)
        self._drop_tls(_TLS_MODES)
        if not folder_existed:
            self._disk.remove_if_empty(self._path)

    def leave(self) -> None:
        """As it is, but for temporary files and for files of ours that `hosts.toml` does not name."""
        self.drop_temporaries()
        hosts = self.hosts()
        self._drop_tls(name for name in _TLS_MODES if hosts is None or name.encode() not in hosts.content)

    def drop_temporaries(self) -> None:
        for name in (HOSTS, *_TLS_MODES):
            self._remove(self._path / temporary_of(name))

    def _replace(self, name: str, content: bytes, mode: int) -> None:
        if _plain_file(self._path / name) == HostsFile(content, mode):
            return
        temporary = self._path / temporary_of(name)
        try:
            self._disk.write(temporary, content, mode)
            self._disk.rename(temporary, self._path / name)
        except OSError:
            with suppress(OSError):  # the error that is raised says why
                temporary.unlink(missing_ok=True)
            raise

    def _drop_tls(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            self._remove(self._path / name)

    def _remove(self, path: Path) -> None:
        if path.exists():
            self._disk.remove(path)


def kind_of(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a file" if stat.S_ISREG(mode) else "a special file"


def _all(file: HostsFile, tls: Tls) -> Iterator[tuple[str, bytes, int]]:
    """`hosts.toml` comes last."""
    for name, pem in tls.files.items():
        yield name, pem, _TLS_MODES[name]
    yield HOSTS, file.content, file.mode


def _plain_file(path: Path) -> HostsFile | None:
    """None where there is none. Raises when it is no plain, readable file of a sensible size."""
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
