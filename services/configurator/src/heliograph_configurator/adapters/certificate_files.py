"""Tests whether the TLS library accepts files as certificates."""

import ssl
from collections.abc import Sequence
from pathlib import Path

from heliograph_configurator.domain.certificate import CertificateUse


def unusable_reason(use: CertificateUse, paths: Sequence[Path]) -> str:
    """Why the files cannot be used, empty if they can.

    `paths` are a CA's, or a client certificate's followed by its key's where that is another file.
    """
    for path in paths:
        if not path.is_file():
            return f"{path} is not a file" if path.exists() else f"there is no {path}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if use == "ca":
            context.load_verify_locations(paths[0])
        else:
            context.load_cert_chain(paths[0], paths[-1], password=_no_password)
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def _no_password() -> str:
    raise ValueError("the key is encrypted")
