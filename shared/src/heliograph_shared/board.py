"""A service that examines its node by itself: in its log, as a metric, and at `/debug/findings`."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from itertools import chain, repeat

import structlog
from prometheus_client import Gauge
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heliograph_shared.findings import PATH, SEVERITIES, Finding, Report, encode, fields

log = structlog.get_logger()

_FIRST_S, _EVERY_S = (5.0, 60.0), 600.0

doctor_findings = Gauge(
    "heliograph_doctor_findings",
    "What the doctor finds wrong with this node; absent until it has looked",
    labelnames=["check", "severity"],
)

Examine = Callable[[], Awaitable[Report]]


class Board:
    """Shows the latest report; before the first one, an empty one of the year 1970.

    `checks` are all that there are, so that what is not found is counted as 0.
    """

    def __init__(self, checks: Iterable[str]) -> None:
        self._checks = tuple(checks)
        self.report = Report(examined_at_ms=0)

    def show(self, report: Report) -> None:
        """Logs what was not found before, and what is found no more."""
        known, found = set(map(_subject, self.report.findings)), set(map(_subject, report.findings))
        for finding in report.findings:
            if _subject(finding) not in known:
                level = log.error if finding.severity == "error" else log.warning
                level("the doctor found something", **fields(finding))
        for check, problem in sorted(known - found):
            log.info("the doctor finds it no more", check=check, problem=problem)
        counts = report.counts()
        for check in self._checks:
            for severity in SEVERITIES:
                doctor_findings.labels(check, severity).set(counts.get((check, severity), 0))
        self.report = report

    def route(self) -> Route:
        async def findings(_: Request) -> Response:
            return Response(encode(self.report), media_type="application/json")

        return Route(PATH, findings)

    async def keep_examined(self, examine: Examine) -> None:
        """Once the node has had time to start, again a minute later, then every ten minutes, for ever."""
        for delay_s in chain(_FIRST_S, repeat(_EVERY_S)):
            spread = random.uniform(0.8, 1.2)  # noqa: S311 - nodes that start together look at other times
            await asyncio.sleep(delay_s * spread)
            try:
                self.show(await examine())
            except Exception:  # whatever a doctor stumbles over, the service does its work all the same
                log.exception("the doctor could not examine this node")


def _subject(finding: Finding) -> tuple[str, str]:
    return finding.check, finding.problem
