"""Files that a `hosts.toml` names for TLS (containerd, docs/hosts.md). Pure.

containerd fails a pull over one that it cannot use, whichever host of the file would have answered.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from heliograph_configurator.domain.checks import Check
from heliograph_shared.findings import Finding

Use = Literal["ca", "client"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """`files` as they are named: an authority's, or a client's and that of its key where it is another."""

    use: Use
    files: tuple[str, ...]


def named_in(document: Mapping[str, Any]) -> Iterator[Certificate]:
    """All of them, those of `server` first."""
    for table in (document, *document.get("host", {}).values()):
        for files in _entries(table.get("ca")):
            yield Certificate("ca", files)
        for files in _entries(table.get("client")):
            yield Certificate("client", files)


def unusable(path: str, certificate: Certificate, reason: str) -> Finding:
    """`path` is that of the `hosts.toml`."""
    return Finding(
        Check.CERTIFICATE,
        "error",
        "a certificate that a hosts.toml names cannot be used: containerd fails every pull by that file",
        f"{path}: {certificate.use} = {', '.join(certificate.files)}: {reason}",
        f"put it there, or take `{certificate.use}` out of {path}",
    )


def _entries(value: object) -> Iterator[tuple[str, ...]]:
    """Of a text, a list of texts, or a list of lists of texts; what is anything else names no file."""
    for entry in value if isinstance(value, list) else [value]:
        listed = entry if isinstance(entry, list) else [entry]
        files = tuple(file for file in listed if isinstance(file, str) and file)
        if files:
            yield files
