"""Reports of the doctors: what is wrong with a node, as text for people and as JSON for programs.

The JSON is printed with `--json` and served at `/debug/findings` by indexers and configurators:

    {"examined_at_ms": 1764000000000, "omitted": 0,
     "findings": [{"check": "...", "severity": "error", "problem": "...", "seen": "...", "remedy": "..."}],
     "unchecked": [{"check": "...", "reason": "..."}]}

Texts and numbers of findings are bounded. `docs/doctor.md` explains every check.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError

from heliograph_shared.settings import ServiceSettings

PATH = "/debug/findings"

MAX_TEXT = 600
MAX_FINDINGS = 100
MAX_OF_ONE_CHECK = 10

Severity = Literal["error", "warning"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning")


class InvalidReport(ValueError):
    """The bytes are not a report."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, how it was seen, and how to fix it (`remedy`). Long texts are cut."""

    check: str
    severity: Severity
    problem: str
    seen: str
    remedy: str

    def __post_init__(self) -> None:
        for name in ("problem", "seen", "remedy"):
            object.__setattr__(self, name, _plain(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A check that could not be made; that does not mean that it passed."""

    check: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", _plain(self.reason))


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one examination: errors first; `omitted` counts the findings beyond the bounds.

    `examined_at_ms` is milliseconds since 1970.
    """

    examined_at_ms: int
    findings: Annotated[tuple[Finding, ...], Field(max_length=MAX_FINDINGS)] = ()
    unchecked: Annotated[tuple[Unchecked, ...], Field(max_length=MAX_FINDINGS)] = ()
    omitted: int = 0

    @classmethod
    def of(cls, examined_at_ms: int, findings: Iterable[Finding], unchecked: Iterable[Unchecked]) -> Self:
        found = sorted(dict.fromkeys(findings), key=lambda one: (one.severity != "error", one.check))
        kept = tuple(_few_of_each(found))[:MAX_FINDINGS]
        return cls(examined_at_ms, kept, tuple(unchecked)[:MAX_FINDINGS], len(found) - len(kept))

    @property
    def healthy(self) -> bool:
        """True if there is no error; warnings are allowed."""
        return all(finding.severity != "error" for finding in self.findings)

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Numbers of findings by check and severity."""
        return Counter((finding.check, finding.severity) for finding in self.findings)


_reports = TypeAdapter(Report)


class DoctorSettings(ServiceSettings):
    """Settings of a `doctor` command besides those of its service."""

    output: Literal["text", "json"] = Field("text", description="format of the report; --json: same as json")


def spelled(arguments: Iterable[str]) -> list[str]:
    """The command line with `--output=json` instead of `--json`."""
    return ["--output=json" if argument == "--json" else argument for argument in arguments]


def encode(report: Report) -> bytes:
    return _reports.dump_json(report) + b"\n"


def decode(body: bytes) -> Report:
    """Raises `InvalidReport`."""
    try:
        return _reports.validate_json(body)
    except ValidationError as error:
        raise InvalidReport(str(error.errors(include_url=False)[0]["msg"])) from error


def merged(reports: Iterable[Report], examined_at_ms: int) -> Report:
    """Join reports into one."""
    parts = list(reports)
    whole = Report.of(
        examined_at_ms,
        chain.from_iterable(part.findings for part in parts),
        chain.from_iterable(part.unchecked for part in parts),
    )
    omitted = whole.omitted + sum(part.omitted for part in parts)
    return Report(examined_at_ms, whole.findings, whole.unchecked, omitted)


def as_text(report: Report) -> str:
    """For a person at a terminal."""
    return "".join(f"{line}\n" for line in _lines(report))


def fields(finding: Finding) -> dict[str, Any]:
    """For a log line."""
    return asdict(finding)


def _lines(report: Report) -> Iterator[str]:
    width = max((len(finding.check) for finding in report.findings), default=0)
    for finding in report.findings:
        yield f"{finding.severity:7}  {finding.check:{width}}  {finding.problem}"
        yield f"{'':7}  {'seen':{width}}  {finding.seen}"
        yield f"{'':7}  {'fix':{width}}  {finding.remedy}"
        yield ""
    for unchecked in report.unchecked:
        yield f"not checked: {unchecked.check}: {unchecked.reason}"
    errors = sum(finding.severity == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    more = f", and {report.omitted} more of the same kinds" if report.omitted else ""
    yield f"{_plural(errors, 'error')}, {_plural(warnings, 'warning')}{more}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _few_of_each(found: Iterable[Finding]) -> Iterator[Finding]:
    seen: Counter[str] = Counter()
    for finding in found:
        seen[finding.check] += 1
        if seen[finding.check] <= MAX_OF_ONE_CHECK:
            yield finding


def _plain(text: str) -> str:
    """One printable line of bounded length, since parts come from files and programs of others."""
    line = " ".join(text.split())
    line = "".join(character if character.isprintable() else "�" for character in line)
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 1]}…"
