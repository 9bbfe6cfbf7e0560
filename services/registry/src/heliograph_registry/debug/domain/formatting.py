"""Numbers and names as people read them. Pure."""

from heliograph_shared.digest import Digest

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SHORT_HEX = 12


def size(size_bytes: float) -> str:
    """In binary units: `512 B`, `1.5 KiB`, `64 MiB`."""
    scaled, units = float(size_bytes), iter(_UNITS)
    unit = next(units)
    while scaled >= 1024 and unit != _UNITS[-1]:
        scaled, unit = scaled / 1024, next(units)
    digits = 0 if unit == "B" or scaled >= 100 or scaled == round(scaled) else 1
    return f"{scaled:.{digits}f} {unit}"


def age(seconds: float) -> str:
    """In the largest unit that fits: `4 s`, `3 min`, `2 h`, `5 d`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} d"


def took(seconds: float) -> str:
    """`0.4 ms`, `12 ms`, `1.25 s`."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


def speed(size_bytes: int, seconds: float) -> str:
    """A second; empty where it was too quick or too little to say."""
    return f"{size(size_bytes / seconds)}/s" if seconds > 0.0005 and size_bytes >= 4096 else ""


def count(number: int, noun: str) -> str:
    """`1 peer`, `no peers`, `1,200 peers`."""
    return f"{f'{number:,}' if number else 'no'} {noun}{'' if number == 1 else 's'}"


def short(digest: Digest | str) -> str:
    """The first hexadecimal digits, of which twelve tell digests of one cluster apart."""
    return digest.rpartition(":")[2][:_SHORT_HEX]


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
