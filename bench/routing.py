"""Rows of the router's index, measured in a separate process, since this process's memory would count too."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from bench.report import Result, result


async def index(_: Path, runs: int) -> list[Result]:
    """Memory and times of the index at ten million pairs; each round gives the median of many calls."""
    command = [sys.executable, "-m", "bench.index"]
    rounds = []
    for _round in range(max(1, runs // 5)):
        ran = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=600)
        rounds.append(json.loads(ran.stdout))
    rows = {
        "memory": ("memory of a pair, way back included", "B", "<= 20"),
        "pick": ("64 of 5,000 holders drawn", "us", ""),
        "diff": ("snapshot of 2,000 digests, 1,800 of them new", "ms", ""),
        "remove": ("a dead node put out of sight", "us", ""),
        "sweep": ("its 2,000 digests unlinked", "ms", ""),
    }
    return [
        result(f"index {what}", [each[key] for each in rounds], unit, target)
        for key, (what, unit, target) in rows.items()
    ]
