"""Whether files are certificates that a TLS library takes."""

import ssl
from collections.abc import Sequence
from pathlib import Path

from heliograph_configurator.domain.certificate import Use


def unusable_reason(use: Use, paths: Sequence[Path]) -> str:
    """Why not, empty where they are; `paths` are an authority's, or a client's and that of its key."""
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
    raise ValueError("its key is encrypted")
