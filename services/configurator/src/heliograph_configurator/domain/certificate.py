"""The TLS files that a `hosts.toml` names (containerd, docs/hosts.md). Pure.

When containerd cannot use one of them it fails the pull, whichever host of the file would have answered.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from heliograph_configurator.domain.checks import ConfiguratorCheck
from heliograph_shared.findings import Finding

CertificateUse = Literal["ca", "client"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """`files` as they are named: a CA's, or a client certificate's and its key's if that is another file."""

    use: CertificateUse
    files: tuple[str, ...]


def named_in(document: Mapping[str, Any]) -> Iterator[Certificate]:
    """All certificates that the document names, those of `server` first."""
    for table in (document, *document.get("host", {}).values()):
        for files in _entries(table.get("ca")):
            yield Certificate("ca", files)
        for files in _entries(table.get("client")):
            yield Certificate("client", files)


def unusable(path: str, certificate: Certificate, reason: str) -> Finding:
    """`path` is that of the `hosts.toml`."""
    return Finding(
        ConfiguratorCheck.CERTIFICATE,
        "error",
        "a hosts.toml names a certificate that cannot be used: containerd fails every pull by that file",
        f"{path}: {certificate.use} = {', '.join(certificate.files)}: {reason}",
        f"put the certificate there, or remove `{certificate.use}` from {path}",
    )


def _entries(value: object) -> Iterator[tuple[str, ...]]:
    """From a string, a list of strings, or a list of lists of strings; anything else names no file."""
    for entry in value if isinstance(value, list) else [value]:
        listed = entry if isinstance(entry, list) else [entry]
        files = tuple(file for file in listed if isinstance(file, str) and file)
        if files:
            yield files
