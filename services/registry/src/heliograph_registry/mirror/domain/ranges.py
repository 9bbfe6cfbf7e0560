"""The Range header (RFC 9110 section 14) with one range; a request for several ranges gets the whole blob."""

import re
from dataclasses import dataclass

_range = re.compile(r"bytes[ \t]*=[ \t]*(\d*)[ \t]*-[ \t]*(\d*)[ \t]*\Z", re.ASCII | re.IGNORECASE).match
_content_range = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z", re.ASCII | re.IGNORECASE).match
_MAX_DIGITS = 19


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `first` to `last`, both included, of `size_bytes`."""

    first: int
    last: int
    size_bytes: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    @property
    def content_range(self) -> str:
        return f"bytes {self.first}-{self.last}/{self.size_bytes}"


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range as requested, not yet resolved against a size. If `first` is None: the last `last` bytes."""

    first: int | None
    last: int | None

    def __str__(self) -> str:
        first = "" if self.first is None else self.first
        last = "" if self.last is None else self.last
        return f"bytes={first}-{last}"

    def of(self, size_bytes: int) -> Span | None:
        """The bytes of the blob that it means; None if it has none of them (then the answer is 416)."""
        if self.first is None:
            count = min(self.last or 0, size_bytes)
            return Span(size_bytes - count, size_bytes - 1, size_bytes) if count else None
        if self.first >= size_bytes:
            return None
        last = size_bytes - 1 if self.last is None else min(self.last, size_bytes - 1)
        return Span(self.first, last, size_bytes)


def parse_range(header: str | None) -> ByteRange | None:
    """None without a header, and for what a server may ignore: malformed, other unit, several ranges."""
    match = _range(header.strip()) if header else None
    if match is None:
        return None
    first, last = match.groups()
    if (not first and not last) or len(first) > _MAX_DIGITS or len(last) > _MAX_DIGITS:
        return None
    if first and last and int(last) < int(first):
        return None
    return ByteRange(int(first) if first else None, int(last) if last else None)


def parse_content_range(header: str) -> Span | None:
    """None unless it states first, last and size, with first <= last < size."""
    match = _content_range(header.strip())
    if match is None or any(len(number) > _MAX_DIGITS for number in match.groups()):
        return None
    first, last, size_bytes = map(int, match.groups())
    return Span(first, last, size_bytes) if first <= last < size_bytes else None
