"""Numbers as people read them."""

import pytest

from heliograph_shared.formatting import size


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (33_554_432, "32 MiB"),
        (64 << 20, "64 MiB"),
        (5 << 30, "5 GiB"),
        (1 << 52, "4096 TiB"),
        (999 << 50, "1022976 TiB"),
    ],
)
def test_sizes_are_in_binary_units(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text
