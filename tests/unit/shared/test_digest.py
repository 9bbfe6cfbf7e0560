"""Digests: what is taken, what is refused, and that one names its bytes."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from heliograph_shared.digest import (
    InvalidDigest,
    WireDigest,
    algorithm_of,
    digest_of,
    hex_of,
    parse_digest,
)

HEX = "0123456789abcdef" * 4
wire = TypeAdapter(WireDigest)

REFUSED = [
    "",
    HEX,
    f"sha256:{HEX[:-1]}",
    f"sha256:{HEX}0",
    f"sha256:{HEX.upper()}",
    f"SHA256:{HEX}",
    f"sha512:{HEX}",
    f"md5:{HEX[:32]}",
    f"sha256:{HEX}\n",
    f" sha256:{HEX}",
    f"sha256:{HEX[:-1]}٣",
    f"sha256:../{HEX[:61]}",
]


@given(st.binary(max_size=64), st.sampled_from(["sha256", "sha512"]))
def test_a_digest_is_the_hash_of_its_bytes(data: bytes, algorithm: str) -> None:
    digest = digest_of(data, algorithm)
    assert parse_digest(digest) == wire.validate_python(digest) == digest
    assert (algorithm_of(digest), hex_of(digest)) == (algorithm, hashlib.new(algorithm, data).hexdigest())


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_digest_is_refused_everywhere_alike(text: str) -> None:
    with pytest.raises(InvalidDigest) as caught:
        parse_digest(text)
    assert caught.value.text == text
    with pytest.raises(ValidationError):
        wire.validate_python(text)


def test_a_refusal_stays_short() -> None:
    with pytest.raises(InvalidDigest) as caught:
        parse_digest("x" * 10_000)
    assert len(str(caught.value)) < 120
