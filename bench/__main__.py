"""`python -m bench [--only ROW] [--runs N]`: run the rows, print and save their results."""

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.measure import CLIENTS
from bench.report import Result, save, table
from bench.rows import ROWS


async def main(names: list[str], runs: int, *, keep: bool) -> None:
    done: list[Result] = []
    for name in names:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as directory:
            found = unusual(await ROWS[name](Path(directory), runs))
        print(f"{table(found)}\n{name}: {time.monotonic() - began:.0f} s\n", flush=True)
        done += found
        if keep:
            save(found)


def unusual(found: list[Result]) -> list[Result]:
    """Add unusual conditions to the names, so that their results are rows of their own."""
    congestion = os.environ.get("CONGESTION", "reno")
    marks = [mark for mark in (congestion, CLIENTS) if mark not in ("reno", "reading")]
    split = ((each, *each.name.partition(" ")) for each in found)
    return [replace(each, name="-".join([row, *marks]) + space + rest) for each, row, space, rest in split]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", choices=list(ROWS), help="run one row")
    parser.add_argument("--runs", type=int, default=15, help="interleaved rounds (15)")
    parser.add_argument("--try", dest="keep", action="store_false", help="print, and write no results")
    asked = parser.parse_args()
    asyncio.run(main([asked.only] if asked.only else list(ROWS), asked.runs, keep=asked.keep))
