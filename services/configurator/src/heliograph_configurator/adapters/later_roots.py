"""Reads the roots of containerd's `config_path` that come after the one the configurator writes to.

containerd looks for a registry in each root, and there for `host_port_`, `host:port` and `_default`. It
follows links, so they are followed here.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from heliograph_configurator.adapters.registry_folder import CERTIFICATES, HOSTS, MAX_FILE_BYTES
from heliograph_configurator.domain.folder import HostsFile, LaterFolder
from heliograph_configurator.domain.registry import DEFAULT, is_looked_up, plain


def read_later(roots: Sequence[Path]) -> dict[str, LaterFolder]:
    """By registry as `host:port`, and `_default`. Raises `OSError` if a root cannot be listed."""
    found: dict[str, LaterFolder] = {}
    for root in roots:
        if not root.exists():
            continue
        names = [path.name for path in root.iterdir() if is_looked_up(path.name) and path.is_dir()]
        here: dict[str, LaterFolder] = {}
        for name in sorted(names, key=lambda name: plain(name) == name):  # `host_port_` is looked for first
            here.setdefault(plain(name), _folder(root / name))
        found = {**here, **found}
        if DEFAULT in found:  # which hides all roots after this one
            break
    return found


def _folder(path: Path) -> LaterFolder:
    try:
        entries = sorted(entry.name for entry in os.scandir(path) if not entry.is_dir())
        hosts = _file(path / HOSTS)
    except OSError as error:
        return LaterFolder(str(path), obstacle=error.strerror or str(error))
    certificates = tuple(str(path / name) for name in entries if name.endswith(CERTIFICATES))
    return LaterFolder(str(path), hosts, certificates)


def _file(path: Path) -> HostsFile | None:
    """Raises `OSError`, also for what is no regular file or far too large."""
    if not path.exists():
        return None
    if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
        raise OSError(f"{path} is not a file of at most {MAX_FILE_BYTES} bytes")
    return HostsFile(path.read_bytes(), 0)
