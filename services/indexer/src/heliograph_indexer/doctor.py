"""`heliograph-indexer doctor`: one examination, for a person or as JSON."""

import asyncio
import signal
import sys
import time
from collections.abc import Sequence

from pydantic import Field, field_validator

from heliograph_indexer import app
from heliograph_indexer.domain import surroundings
from heliograph_indexer.errors import StoreUnavailable
from heliograph_indexer.settings import Settings
from heliograph_shared import findings
from heliograph_shared.findings import Finding, Report, Unchecked
from heliograph_shared.reference import InvalidReference, parse_reference
from heliograph_shared.runtime import StartupError, configure_logging, interruptible
from heliograph_shared.settings import load

PROG = "heliograph-indexer doctor"


class DoctorSettings(Settings, findings.DoctorSettings):
    """The indexer's own, and what to look at besides."""

    probe: str = Field("", description="an image that containerd pulls at the end, by its usual way")
    ask_bus: bool = Field(True, description="whether the bus is asked")

    @field_validator("probe")
    @classmethod
    def _is_an_image(cls, text: str) -> str:
        try:
            return str(parse_reference(text)) if text else ""
        except InvalidReference as error:
            raise ValueError(str(error)) from error


def main(arguments: Sequence[str]) -> int:
    """0 when nothing is wrong, 1 when something is; exits with 2 when it was not understood.

    A signal cancels it, so that what was pulled is taken out: then 128 and the signal's number.
    """
    settings = load(DoctorSettings, PROG, findings.spelled(arguments))
    configure_logging("error")
    signals: list[int] = []
    try:
        report = asyncio.run(interruptible(_examined(settings), (signal.SIGINT, signal.SIGTERM), signals))
    except asyncio.CancelledError:
        return 128 + signals[0]
    except StartupError as error:
        sys.stderr.write(f"{PROG}: {error}\n")
        return 2
    sys.stdout.write(
        findings.encode(report).decode() if settings.output == "json" else findings.as_text(report)
    )
    return 0 if report.healthy else 1


async def _examined(settings: DoctorSettings) -> Report:
    report = await app.examination(settings, ask_bus=settings.ask_bus).report()
    if not settings.probe:
        return report
    try:
        probed = await app.probe_pull(settings, parse_reference(settings.probe))
    except StoreUnavailable as error:
        probed = [surroundings.containerd_unreachable(error.store, error.reason)]
    more = Report.of(
        time.time_ns() // 1_000_000,
        [one for one in probed if isinstance(one, Finding)],
        [one for one in probed if isinstance(one, Unchecked)],
    )
    return findings.merged([report, more], more.examined_at_ms)
