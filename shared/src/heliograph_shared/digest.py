"""Content digests as OCI writes them: `algorithm:hex` (image-spec v1.1, descriptor.md#digests)."""

import hashlib
import re
from typing import Annotated, NewType

from pydantic import StringConstraints

Digest = NewType("Digest", str)

PATTERN = r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$"
WireDigest = Annotated[Digest, StringConstraints(pattern=PATTERN)]

_matches = re.compile(PATTERN.replace("$", r"\Z")).match


class InvalidDigest(ValueError):
    """The text is not a digest of a registered algorithm."""

    def __init__(self, text: str) -> None:
        super().__init__(f"not a digest: {text[:80]!r}")
        self.text = text


def parse_digest(text: str) -> Digest:
    """Accept sha256 and sha512 in lower-case hexadecimal. Raises `InvalidDigest`."""
    if _matches(text) is None:
        raise InvalidDigest(text)
    return Digest(text)


def algorithm_of(digest: Digest) -> str:
    return digest.partition(":")[0]


def hex_of(digest: Digest) -> str:
    return digest.partition(":")[2]


def digest_of(data: bytes, algorithm: str = "sha256") -> Digest:
    """The digest of `data`; `algorithm` is one that `parse_digest` takes."""
    return Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")
