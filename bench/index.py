"""Measures the router's index with ten million (digest, node) pairs; prints the figures as JSON."""

import gc
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

from heliograph_router.domain.index import Index
from heliograph_shared.digest import Digest

NODES, DIGESTS, EACH, ON_ALL = 5_000, 200_000, 2_000, 200
_PAGE_BYTES = 4096


def main() -> None:
    index, before = Index(), resident_bytes()
    for number in range(NODES):
        index.replace(f"node-{number}", content(number), {})
    gc.collect()
    used = resident_bytes() - before
    gc.freeze()
    changed = {number: content(number + NODES) for number in range(20)}
    figures = {
        "memory": used / index.pairs,
        "pick": 1e6 * median(lambda _: index.some_holders(digest(0), 64, random.randrange), 1000),
        "diff": 1e3 * median(lambda turn: index.replace(f"node-{turn}", changed[turn], {}), 20),
        "remove": 1e6 * median(lambda turn: index.remove(f"node-{turn + 100}"), 20),
        "sweep": 1e3 * median(lambda _: index.sweep(), 20),
    }
    print(json.dumps(figures))


def content(seed: int) -> dict[Digest, int]:
    """A node's content: some is on all nodes, the rest random. Strings are not shared, as if received."""
    drawn = random.Random(seed).sample(range(ON_ALL, DIGESTS), EACH - ON_ALL)
    return {digest(number): 1 << 20 for number in [*range(ON_ALL), *drawn]}


def digest(number: int) -> Digest:
    return Digest(f"sha256:{number * 0x9E3779B97F4A7C15 % (1 << 64):016x}{number:048x}")


def median(call: Callable[[int], object], turns: int) -> float:
    """The median duration of a call, in seconds."""
    took = []
    for turn in range(turns):
        began = time.perf_counter()
        call(turn)
        took.append(time.perf_counter() - began)
    return sorted(took)[turns // 2]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


if __name__ == "__main__":
    main()
