import io

from rich.console import Console

from heliograph_cli.pull import Fetched, Pulled
from heliograph_cli.render import plain, pulled_table, short
from heliograph_shared.digest import digest_of
from heliograph_shared.image import Kind
from heliograph_shared.reference import parse_reference


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert plain("a\x1b[31mb\nc") == "a�[31mb�c"


def test_a_table_says_what_came_from_where_and_how_fast() -> None:
    digest = digest_of(b"layer")
    reference = parse_reference("reg.test/app:1")
    parts = (
        Fetched(Kind.MANIFEST, digest_of(b"manifest"), 500, "local", 0.0),
        Fetched(Kind.LAYER, digest, 33_554_432, "peer/node-1", 0.5),
    )
    console = Console(file=io.StringIO(), width=80)
    console.print(pulled_table(Pulled(reference, parts, 1.0)))
    out = console.file.getvalue()  # type: ignore[attr-defined]
    row = next(line.split() for line in out.splitlines() if short(digest) in line)
    assert row == ["layer", short(digest), "33,554,432", "peer/node-1", "0.500", "67.1"]
    assert out.splitlines()[-1].split() == [
        "all",
        "2",
        "parts",
        "33,554,932",
        "2",
        "sources",
        "1.000",
        "33.6",
    ]
