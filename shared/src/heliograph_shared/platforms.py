"""Platforms of images, and which of an index's manifests a node takes. Pure, except `this_platform`.

The rules are containerd's (`Normalize` and `Only` of github.com/containerd/platforms): a node also runs
images for older variants and the 32-bit form of its architecture, and takes the best that an index has.
"""

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeVar

_ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386",
    "armhf": "arm", "armel": "arm", "armv6l": "arm", "armv7l": "arm",
}  # fmt: skip
_ARM_VARIANTS = {"armhf": "v7", "armel": "v6", "armv6l": "v6", "armv7l": "v7"}
_LEAST_ARM = 5
_is_name = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}").fullmatch


class InvalidPlatform(ValueError):
    """The text is not `os/architecture[/variant]`."""


@dataclass(frozen=True, slots=True)
class Platform:
    """Normalized: `variant` is empty where it is the architecture's usual one."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


def parse_platform(text: str) -> Platform:
    """`os/architecture[/variant]`, in containerd's or the kernel's names. Raises `InvalidPlatform`."""
    parts = text.lower().split("/")
    if len(parts) not in {2, 3} or not all(map(_is_name, parts)):
        raise InvalidPlatform("wanted os/architecture[/variant], such as linux/arm64")
    return _normalized(*parts)


def this_platform() -> Platform:
    """Linux on this machine."""
    return parse_platform(f"linux/{platform.machine() or 'unknown'}")


class _ForPlatform(Protocol):
    @property
    def platform(self) -> object: ...


Entry = TypeVar("Entry", bound=_ForPlatform)


class Matcher:
    """What a node of one platform runs. Entries of an index are anything whose `platform` prints as one."""

    def __init__(self, node: Platform) -> None:
        self.node = node
        self._ranks = {runs: rank for rank, runs in enumerate(_runs(node))}

    def matches(self, stated: str) -> bool:
        return self._rank(stated) is not None

    def best(self, entries: Iterable[Entry]) -> Entry | None:
        """The entry that containerd takes: the best match, else the first without a platform, else None."""
        found, least = None, len(self._ranks) + 1
        for entry in entries:
            stated = str(entry.platform or "")
            rank = self._rank(stated) if stated else len(self._ranks)
            if rank is not None and rank < least:
                found, least = entry, rank
        return found

    def _rank(self, stated: str) -> int | None:
        """0 is best; None if the node does not run it."""
        platform = _read(stated)
        return None if platform is None else self._ranks.get(platform)


@lru_cache(1024)
def _read(stated: str) -> Platform | None:
    try:
        return parse_platform(stated)
    except InvalidPlatform:
        return None


def _normalized(os: str, architecture: str, variant: str = "") -> Platform:
    variant = _ARM_VARIANTS.get(architecture, variant)
    architecture = _ARCHITECTURES.get(architecture, architecture)
    if variant and not variant.startswith("v"):
        variant = f"v{variant}"
    if architecture == "arm":
        return Platform(os, "arm", variant or "v7")
    if (architecture, variant) in {("amd64", "v1"), ("arm64", "v8"), ("arm64", "v8.0")}:
        variant = ""
    return Platform(os, architecture, variant)


def _runs(node: Platform) -> list[Platform]:
    """Best first."""
    os, found = node.os, [node]
    match node.architecture:
        case "amd64":
            lower = range(_number(node.variant) - 1, 0, -1)
            found += [_normalized(os, "amd64", f"v{number}") for number in lower]
            found.append(Platform(os, "386"))
        case "arm":
            found += [
                Platform(os, "arm", f"v{n}") for n in range(_number(node.variant) - 1, _LEAST_ARM - 1, -1)
            ]
        case "arm64":
            found += [Platform(os, "arm64")] if node.variant else []
            found += _runs(Platform(os, "arm", "v8"))
    return found


def _number(variant: str) -> int:
    """Of `v7` it is 7; 0 of anything else."""
    return int(variant[1:]) if variant[1:].isdecimal() and variant.isascii() else 0
