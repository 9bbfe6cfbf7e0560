"""Numbers and names as people read them. Pure."""

from collections.abc import Sequence

from heliograph_shared.digest import Digest
from heliograph_shared.formatting import size

_SHORT_HEX = 12


def age(seconds: float) -> str:
    """In the largest unit that fits: `4 s`, `3 min`, `2 h`, `5 d`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} d"


def duration(seconds: float) -> str:
    """`0.4 ms`, `12 ms`, `1.25 s`."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


def speed(size_bytes: int, seconds: float) -> str:
    """`32 MiB/s`; empty when there were too few bytes or too little time to tell."""
    return f"{size(size_bytes / seconds)}/s" if seconds > 0.0005 and size_bytes >= 4096 else ""


def count(number: int, noun: str) -> str:
    """`1 peer`, `no peers`, `1,200 peers`."""
    return f"{f'{number:,}' if number else 'no'} {noun}{'' if number == 1 else 's'}"


def short(digest: Digest | str) -> str:
    """The first 12 hexadecimal digits, enough to tell the digests of a cluster apart."""
    return digest.rpartition(":")[2][:_SHORT_HEX]


def joined(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; empty for no names."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
