"""Numbers as people read them. Pure."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(size_bytes: float) -> str:
    """In binary units: `512 B`, `1.5 KiB`, `64 MiB`."""
    scaled, units = float(size_bytes), iter(_UNITS)
    unit = next(units)
    while scaled >= 1024 and unit != _UNITS[-1]:
        scaled, unit = scaled / 1024, next(units)
    digits = 0 if unit == "B" or scaled >= 100 or scaled == round(scaled) else 1
    return f"{scaled:.{digits}f} {unit}"
