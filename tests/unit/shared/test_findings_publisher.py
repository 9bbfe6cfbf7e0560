"""What becomes of an examination: log lines, counts, and an answer."""

import asyncio
import contextlib

import pytest
import structlog

from heliograph_shared import findings_publisher
from heliograph_shared.findings import Finding, Report
from heliograph_shared.findings_publisher import FindingsPublisher, doctor_findings
from tests.support.waiting import eventually


def test_a_finding_is_logged_when_it_comes_and_when_it_goes() -> None:
    finding = Finding("clock", "warning", "it is slow", "3 s", "wind it")
    publisher = FindingsPublisher(["clock"])
    with structlog.testing.capture_logs() as lines:
        publisher.show(Report.of(1, [finding], []))
        publisher.show(Report.of(2, [Finding("clock", "warning", "it is slow", "4 s", "wind it")], []))
        publisher.show(Report.of(3, [], []))
    assert [(line["log_level"], line["check"]) for line in lines] == [("warning", "clock"), ("info", "clock")]
    assert doctor_findings.labels("clock", "warning")._value.get() == 0
    assert publisher.report.examined_at_ms == 3


async def test_a_doctor_that_stumbles_is_told_of_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings_publisher, "_FIRST_S", (0.0, 0.0))
    publisher, asked = FindingsPublisher(["clock"]), 0

    async def examine() -> Report:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ValueError("it stumbled")
        return Report.of(7, [], [])

    with structlog.testing.capture_logs() as lines:
        task = asyncio.create_task(publisher.keep_examined(examine))
        await eventually(lambda: publisher.report.examined_at_ms == 7)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert [line["log_level"] for line in lines] == ["error"]
