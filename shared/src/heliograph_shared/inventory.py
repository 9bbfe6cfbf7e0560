"""A checksum of everything that a node announces, updated in constant time per change.

It consists of counts and XORs, so order does not matter, and removing undoes adding. A digest contributes the
first 8 bytes of its hash, a tag the first 8 bytes of SHA-256(reference NUL digest), both big-endian.
"""

import hashlib
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from heliograph_shared.digest import Digest

Checksum = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class Inventory(BaseModel):
    """If two inventories are equal, so is the content, but for a chance of 2^-64."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    digests: Annotated[int, Field(ge=0, description="how many digests the node holds")]
    digest_checksum: Annotated[Checksum, Field(description="XOR of the first 8 bytes of each digest")]
    tags: Annotated[int, Field(ge=0, description="how many tags there are")]
    tag_checksum: Annotated[
        Checksum, Field(description="XOR of the first 8 bytes of SHA-256(reference, NUL, digest) of each tag")
    ]


class RunningInventory:
    """Add only what is absent and remove only what is present: a repetition would cancel out."""

    __slots__ = ("_digest_xor", "_digests", "_tag_xor", "_tags")

    def __init__(self) -> None:
        self._digests = self._digest_xor = self._tags = self._tag_xor = 0

    def add_digest(self, digest: Digest) -> None:
        self._digests += 1
        self._digest_xor ^= _of_digest(digest)

    def add_digests(self, digests: Sequence[Digest]) -> None:
        self._digests += len(digests)
        checksum = self._digest_xor
        for digest in digests:
            checksum ^= int(digest[7:23], 16)  # `_of_digest` inlined: a router's hot path
        self._digest_xor = checksum

    def remove_digest(self, digest: Digest) -> None:
        self._digests -= 1
        self._digest_xor ^= _of_digest(digest)

    def add_tag(self, reference: str, digest: Digest) -> None:
        self._tags += 1
        self._tag_xor ^= _of_tag(reference, digest)

    def remove_tag(self, reference: str, digest: Digest) -> None:
        self._tags -= 1
        self._tag_xor ^= _of_tag(reference, digest)

    def freeze(self) -> Inventory:
        return Inventory(
            digests=self._digests,
            digest_checksum=f"{self._digest_xor:016x}",
            tags=self._tags,
            tag_checksum=f"{self._tag_xor:016x}",
        )


def _of_digest(digest: Digest) -> int:
    return int(digest[7:23], 16)  # the names of both algorithms have six letters


def _of_tag(reference: str, digest: Digest) -> int:
    hashed = hashlib.sha256(reference.encode() + b"\0" + digest.encode()).digest()
    return int.from_bytes(hashed[:8], "big")
