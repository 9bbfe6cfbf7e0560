"""What a doctor found wrong on this node."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """`severity` is `error` or `warning`; `seen` says how it shows, `remedy` what mends it."""

    check: str
    severity: str
    problem: str
    seen: str
    remedy: str
