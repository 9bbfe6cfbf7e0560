"""How much of a body is in memory at once where it has to be copied: with TLS the kernel cannot move it."""

from collections.abc import Iterator
from contextlib import contextmanager

_IN_ALL_BYTES = 4 << 20
_LEAST_BYTES, _MOST_BYTES = 16 << 10, 256 << 10  # a TLS record holds 16 KiB


class Copies:
    """Bodies that are copied at the same time share 4 MiB; each has 256 KiB at most."""

    def __init__(self) -> None:
        self._under_way = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    @property
    def piece_bytes(self) -> int:
        return max(_LEAST_BYTES, min(_MOST_BYTES, _IN_ALL_BYTES // max(1, self._under_way)))
