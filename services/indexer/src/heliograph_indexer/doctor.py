"""`heliograph-indexer doctor`: one examination of this node, printed as text or JSON."""

import time
from collections.abc import Sequence
from functools import partial

from pydantic import Field, field_validator

from heliograph_indexer import app
from heliograph_indexer.settings import Settings
from heliograph_shared import doctor_command, findings
from heliograph_shared.findings import Finding, Report, Unchecked
from heliograph_shared.reference import InvalidReference, parse_reference
from heliograph_shared.settings import load

PROG = "heliograph-indexer doctor"


class IndexerDoctorSettings(Settings, findings.DoctorSettings):
    """Reports what prevents this node from mirroring."""

    probe: str = Field("", description="image for a test pull by containerd; its traces are removed")
    ask_bus: bool = Field(True, description="whether to connect to the bus")

    @field_validator("probe")
    @classmethod
    def _is_an_image(cls, text: str) -> str:
        try:
            return str(parse_reference(text)) if text else ""
        except InvalidReference as error:
            raise ValueError(str(error)) from error


def main(arguments: Sequence[str]) -> int:
    """The exit code of `doctor_command.run`; exits with 2 when the arguments are invalid."""
    settings = load(IndexerDoctorSettings, PROG, findings.spelled(arguments))
    return doctor_command.run(PROG, settings.output, partial(_examined, settings))


async def _examined(settings: IndexerDoctorSettings) -> Report:
    report = await app.examination(settings, ask_bus=settings.ask_bus).report()
    if not settings.probe:
        return report
    results = await app.probe_pull(settings, parse_reference(settings.probe))
    probed = Report.of(
        time.time_ns() // 1_000_000,
        [one for one in results if isinstance(one, Finding)],
        [one for one in results if isinstance(one, Unchecked)],
    )
    return findings.merged([report, probed], probed.examined_at_ms)
