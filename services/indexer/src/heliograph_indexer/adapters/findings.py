"""Where an examination's outcome is seen: in the log, as a metric, and at `/debug/findings`."""

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heliograph_indexer.adapters.metrics import doctor_findings
from heliograph_indexer.domain.checks import Check
from heliograph_shared.findings import Finding, Report, encode, fields

log = structlog.get_logger()

_SEVERITIES = ("error", "warning")


class Board:
    """Shows the latest report; before the first one, an empty one of the year 1970."""

    def __init__(self) -> None:
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
        for check in Check:
            for severity in _SEVERITIES:
                doctor_findings.labels(check, severity).set(counts.get((check, severity), 0))
        self.report = report


def findings_route(board: Board) -> Route:
    async def findings(_: Request) -> Response:
        return Response(encode(board.report), media_type="application/json")

    return Route("/debug/findings", findings)


def _subject(finding: Finding) -> tuple[str, str]:
    return finding.check, finding.problem
