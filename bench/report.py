"""Results, saved in `results.json` for machines and rendered as `RESULTS.md` for people."""

import json
import operator
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.measure import cores
from bench.servers import tools
from tests.support.machines import machines_path

HERE = Path(__file__).parent
_COMPARE = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True, slots=True)
class Result:
    """`name` begins with its row; `target` is "" or like ">= 0.9"; `low` and `high` are the range."""

    name: str
    value: float
    low: float
    high: float
    runs: int
    unit: str
    target: str = ""
    met: bool | None = None

    @property
    def row(self) -> str:
        return self.name.partition(" ")[0]


def result(name: str, samples: Sequence[float], unit: str, target: str = "") -> Result:
    """The median of the samples with their range; the median is compared with the target."""
    value = statistics.median(samples)
    return judged(name, value, min(samples), max(samples), len(samples), unit, target)


def judged(name: str, value: float, low: float, high: float, runs: int, unit: str, target: str) -> Result:
    met = None
    if target:
        sign, bound = target.split()
        met = _COMPARE[sign](value, float(bound))
    value, low, high = (float(f"{number:.4g}") for number in (value, low, high))
    return Result(name, value, low, high, runs, unit, target, met)


def ratios(name: str, ours: Sequence[float], theirs: Sequence[float], target: str = "") -> Result:
    """Each sample divided by the one measured in the same round."""
    return result(name, [a / b for a, b in zip(ours, theirs, strict=True)], "ratio", target)


def save(results: Sequence[Result]) -> None:
    """Replace the rows that were run, keep the others, and render the page again."""
    path = HERE / "results.json"
    kept = [Result(**each) for each in json.loads(path.read_text())] if path.exists() else []
    rows = {each.row for each in results}
    merged = sorted([*(each for each in kept if each.row not in rows), *results], key=lambda each: each.row)
    path.write_text(json.dumps([asdict(each) for each in merged], indent=1) + "\n")
    (HERE / "RESULTS.md").write_text(_page(merged))


def table(results: Sequence[Result]) -> str:
    lines = ["| | median | range | runs | unit | target | met |", "|---|---|---|---|---|---|---|"]
    for each in results:
        met = {True: "yes", False: "**no**", None: ""}[each.met]
        lines.append(
            f"| {each.name} | {each.value:g} | {each.low:g} to {each.high:g} | {each.runs} | {each.unit} "
            f"| {each.target} | {met} |"
        )
    return "\n".join(lines)


def _page(results: Sequence[Result]) -> str:
    return f"""# Results

Made by `make bench`; how to read it: [README](README.md). A row run alone replaces only its own lines.
Last run: {datetime.now(UTC):%Y-%m-%d}.

{table(results)}

## Machine
{cores()} cores, {_cpu_model()}, Linux {platform.release()}. Virtual and shared: only ratios are comparable.

| | |
|---|---|
{_versions()}
"""


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> str:
    def printed(*command: str | Path) -> str:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return (done.stdout + done.stderr).strip().splitlines()[0]

    found = {
        "Python": platform.python_version(),
        **{name: version(name) for name in ("uvicorn", "uvloop", "httptools", "grpcio")},
        "Go": (tools() / "go-version").read_text().split()[2].removeprefix("go"),
        "nginx": printed(tools() / "nginx", "-v").rpartition("/")[2],
        **{
            name: (machines_path() / name).resolve().name.removeprefix(f"{name}-")
            for name in ("docker-registry",)
        },
        "containerd": (machines_path() / "containerd-2").resolve().name.removeprefix("containerd-"),
    }
    return "\n".join(f"| {name} | {value} |" for name, value in found.items())
