"""The real daemons that `install-machines.sh` has unpacked and `build-containerd.sh` has built."""

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

KNOWN = ("1.6", "1.7", "2", "2.4")
"""Every series of containerd that CI tests, oldest first; "2" is that of Debian sid."""
BUILT = "2.4"
"""The one that is built from source: without Go it is left out, except in CI."""


@dataclass(frozen=True, slots=True)
class Release:
    """An unpacked containerd. `series` is how tests name it, `label` the full version."""

    series: str
    label: str
    program: Path

    @property
    def modern(self) -> bool:
        """Whether it is containerd 2: with another configuration, and with the transfer service."""
        return self.series.startswith("2")

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
    for series in KNOWN:
        link = machines_path() / f"containerd-{series}"
        if not (program := link / "containerd").exists():
            continue
        version = re.match(r"containerd-([0-9.]+)", link.resolve().name)
        releases.append(Release(series, version[1] if version else series, program))
    return releases


def release(series: str) -> Release:
    """Return the release of one of `SERIES`. Raises `LookupError` where it is absent."""
    for candidate in versions():
        if candidate.series == series:
            return candidate
    raise LookupError(f"containerd {series} is not in {machines_path()}")


def _there(series: str) -> bool:
    return series in {found.series for found in versions()}


SERIES = tuple(series for series in KNOWN if series != BUILT or _there(BUILT) or os.environ.get("CI"))
"""Those that tests run on here."""
MODERN = tuple(series for series in SERIES if series.startswith("2"))


def docker_registry() -> Path:
    return machines_path() / "docker-registry" / "docker-registry"


def client(name: str) -> Path:
    """A program that pulls images, by the name of its link and of itself: `crane`, `oras` or `dockerd`."""
    return machines_path() / name / name


@cache
def absent() -> str:
    """Why the end-to-end tests cannot run here, in one line; empty if they can."""
    if os.geteuid() != 0:
        return "no machines for the end-to-end tests: they need root"
    if not all(map(_there, SERIES)) or not docker_registry().exists():
        return "no machines for the end-to-end tests: run `make machines`"
    return ""
