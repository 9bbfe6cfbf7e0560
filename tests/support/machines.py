"""The real daemons that `install-machines.sh` has unpacked."""

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SERIES = ("1.6", "1.7", "2")


@dataclass(frozen=True, slots=True)
class Release:
    """An unpacked containerd. `series` is how tests name it, `label` the full version."""

    series: str
    label: str
    program: Path

    @property
    def ctr(self) -> Path:
        return self.program.with_name("ctr")


def machines_path() -> Path:
    """Where the programs lie: $HELIOGRAPH_TEST_CACHE/machines."""
    folder = os.environ.get("HELIOGRAPH_TEST_CACHE") or Path.home() / ".cache" / "heliograph"
    return Path(folder) / "machines"


@cache
def versions() -> list[Release]:
    """The releases that are there, oldest first."""
    releases = []
    for series in SERIES:
        link = machines_path() / f"containerd-{series}"
        if not (program := link / "containerd").exists():
            continue
        version = re.match(r"containerd-([0-9.]+)", link.resolve().name)
        releases.append(Release(series, version[1] if version else series, program))
    return releases


def release(series: str) -> Release:
    """Return the release of "1.6", "1.7" or "2". Raises `LookupError` where it is absent."""
    for candidate in versions():
        if candidate.series == series:
            return candidate
    raise LookupError(f"containerd {series} is not in {machines_path()}")


def docker_registry() -> Path:
    return machines_path() / "docker-registry" / "docker-registry"


@cache
def absent() -> str:
    """Why the end-to-end tests cannot run here, in one line; empty if they can."""
    if os.geteuid() != 0:
        return "no machines for the end-to-end tests: they need root"
    missing = [name for name in SERIES if name not in {found.series for found in versions()}]
    if missing or not docker_registry().exists():
        return "no machines for the end-to-end tests: run tests/support/install-machines.sh"
    return ""
