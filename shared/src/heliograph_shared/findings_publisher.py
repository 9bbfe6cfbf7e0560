"""Publishes what a service's doctor finds: as log lines, as a metric and at `/debug/findings`."""

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
    "Problems of this node in the doctor's latest report; absent before the first report",
    labelnames=["check", "severity"],
)

Examine = Callable[[], Awaitable[Report]]


class FindingsPublisher:
    """Publishes the latest report; before the first one, an empty one of the year 1970."""

    def __init__(self, checks: Iterable[str]) -> None:
        """`checks` are all checks of the service; one without findings is counted as 0."""
        self._checks = tuple(checks)
        self.report = Report(examined_at_ms=0)

    def show(self, report: Report) -> None:
        """Logs the findings that are new and those that are gone, and counts all."""
        known, found = set(map(_subject, self.report.findings)), set(map(_subject, report.findings))
        for finding in report.findings:
            if _subject(finding) not in known:
                level = log.error if finding.severity == "error" else log.warning
                level("the doctor found a problem", **fields(finding))
        for check, problem in sorted(known - found):
            log.info("a problem that the doctor found is gone", check=check, problem=problem)
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
        """Examine the node after 5 s, after another minute, then every ten minutes, until cancelled.

        Delays vary by 20%. An exception of `examine` is logged.
        """
        for delay_s in chain(_FIRST_S, repeat(_EVERY_S)):
            spread = random.uniform(0.8, 1.2)  # noqa: S311 - nodes that start together examine at other times
            await asyncio.sleep(delay_s * spread)
            try:
                self.show(await examine())
            except Exception:  # a bug in a doctor must not stop the service
                log.exception("the doctor could not examine this node")


def _subject(finding: Finding) -> tuple[str, str]:
    return finding.check, finding.problem
