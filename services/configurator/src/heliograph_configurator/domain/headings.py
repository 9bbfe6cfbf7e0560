"""The headings of tables in a TOML text, which tomllib does not report. Pure.

containerd 2 asks the hosts in the order of their headings, and only those that have one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_token = re.compile(
    r'"""(?:\\.|[^\\])*?"""+|\'\'\'.*?\'\'\'+'  # strings of several lines
    r'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}\n=]|[^"\'#\[\]{}\n=]+',
    re.DOTALL,
).finditer


@dataclass(frozen=True, slots=True)
class Heading:
    """`text` is what is between the brackets, `of_array` if those are double; the text begins at `start`."""

    text: str
    of_array: bool
    start: int


def headings(text: str) -> Iterator[Heading]:
    """In order. `text` is valid TOML 1.0."""
    depth, begins, is_value = 0, True, False
    start: int | None = None
    for token in _token(text):
        symbol = token[0]
        if symbol == "\n" and not depth:
            begins, is_value = True, False
        elif symbol == "=" and not depth:
            is_value = True
        elif symbol in {"[", "{"}:
            if symbol == "[" and begins and not is_value:
                start = token.end()
            depth += 1
        elif symbol in {"]", "}"}:
            depth -= 1
            if not depth and start is not None:
                inner = text[start : token.start()]
                of_array = inner.startswith("[")
                yield Heading(inner.strip("[]") if of_array else inner, of_array, start + of_array)
                start = None
        if symbol.strip() or depth:
            begins = False
