"""Output for a terminal: text without control characters, tables and progress bars."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.box import SIMPLE, SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from heliograph_cli.pull import Pulled
from heliograph_shared.digest import Digest
from heliograph_shared.image import ImagePart

_SHORT_HEX = 12


def plain(text: str) -> str:
    """Text from outside with control characters replaced."""
    return "".join(character if character.isprintable() else "�" for character in text)


def short(digest: str) -> str:
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}:{encoded[:_SHORT_HEX]}"


def grid(*columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table; columns in `right` are aligned to the right."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def pulled_table(pulled: Pulled) -> Table:
    """A row for each part and a footer with the totals."""
    table = grid("what", "digest", "bytes", "from", "seconds", "MB/s", right=("bytes", "seconds", "MB/s"))
    for part in pulled.parts:
        table.add_row(
            part.kind,
            short(part.digest),
            f"{part.size_bytes:,}",
            plain(part.source),
            *_speed(part.size_bytes, part.seconds),
        )
    table.box, table.show_footer = SIMPLE, True
    sources = len({part.source for part in pulled.parts})
    together = (
        "all",
        f"{len(pulled.parts)} parts",
        f"{pulled.size_bytes:,}",
        f"{sources} source{'s' if sources > 1 else ''}",
        *_speed(pulled.size_bytes, pulled.seconds),
    )
    for column, text in zip(table.columns, together, strict=True):
        column.footer = text
    return table


def _speed(size_bytes: int, seconds: float) -> tuple[str, str]:
    return f"{seconds:.3f}", f"{size_bytes / 1e6 / seconds:.1f}" if seconds else ""


class Bars:
    """A progress bar for each blob of a pull."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[Digest, TaskID] = {}

    def began(self, blob: ImagePart) -> None:
        name = f"{blob.kind:8} {short(blob.digest)}"
        self._tasks[blob.digest] = self._progress.add_task(name, total=blob.size_bytes)

    def received(self, digest: Digest, size_bytes: int) -> None:
        self._progress.advance(self._tasks[digest], size_bytes)


@contextmanager
def bars(console: Console) -> Iterator[Bars]:
    """Draws on terminals only, and removes the bars at the end."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bars(progress)
