"""Reads containerd's config.toml, for versions that do not report their settings.

An imported file overrides the file that imports it (containerd's docs/man/containerd-config.toml.5.md). The
files may hold registry credentials, so no error quotes their text.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heliograph_indexer.domain.runtime_settings import ContainerdVersion, RuntimeSettings, from_toml
from heliograph_indexer.errors import ConfigUnreadable

_MAX_FILES, _MAX_BYTES = 64, 1 << 20


def read_settings(path: Path, version: ContainerdVersion) -> RuntimeSettings:
    """The settings in the file at `path` and its imports. Raises `ConfigUnreadable`."""
    return from_toml(read_config(path), str(path), version)


def read_config(path: Path) -> dict[str, Any]:
    """The file with its imports merged in. Raises `ConfigUnreadable`."""
    merged: dict[str, Any] = {}
    pending, read = [path], set[Path]()
    while pending:
        file = pending.pop(0)
        if file in read:
            continue
        read.add(file)
        if len(read) > _MAX_FILES:
            raise ConfigUnreadable(path, f"it imports more than {_MAX_FILES} files")
        document = _parsed(file)
        pending += _imports(file, document)
        _merge(merged, document)
    return merged


def _parsed(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            text = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigUnreadable(file, error.strerror or type(error).__name__) from error
    if len(text) > _MAX_BYTES:
        raise ConfigUnreadable(file, f"larger than {_MAX_BYTES} bytes")
    try:
        return tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigUnreadable(file, "not TOML") from error


def _imports(file: Path, document: dict[str, Any]) -> Iterator[Path]:
    named = document.get("imports", [])
    for pattern in named if isinstance(named, list) else []:
        place = file.parent / str(pattern)
        if "*" not in place.name:
            yield place
        elif place.parent.is_dir():
            yield from sorted(place.parent.glob(place.name))


def _merge(below: dict[str, Any], above: dict[str, Any]) -> None:
    """Put `above` into `below`; values of `above` win, and tables are merged."""
    for key, value in above.items():
        known = below.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        else:
            below[key] = value
