"""Reports are bounded, come back from JSON as they were, and name errors first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_shared.findings import (
    MAX_FINDINGS,
    MAX_OF_ONE_CHECK,
    MAX_TEXT,
    Finding,
    InvalidReport,
    Report,
    Unchecked,
    as_text,
    decode,
    encode,
    merged,
    spelled,
)

texts = st.text(max_size=2 * MAX_TEXT)
findings = st.builds(
    Finding,
    check=st.from_regex(r"[a-z]{1,3}", fullmatch=True),
    severity=st.sampled_from(["error", "warning"]),
    problem=texts,
    seen=texts,
    remedy=texts,
)
reports = st.builds(
    Report.of,
    examined_at_ms=st.integers(0, 2**50),
    findings=st.lists(findings, max_size=30),
    unchecked=st.lists(st.builds(Unchecked, check=st.just("clock"), reason=texts), max_size=3),
)


@given(reports)
def test_a_report_comes_back_from_json(report: Report) -> None:
    assert decode(encode(report)) == report


@given(reports)
def test_text_holds_every_finding_on_lines_that_play_no_tricks(report: Report) -> None:
    lines = as_text(report).split("\n")
    assert sum(line.startswith(("error ", "warning ")) for line in lines) == len(report.findings)
    assert all(line.isprintable() for line in lines)


def finding(check: str, severity: str = "error", text: str = "p") -> Finding:
    return Finding(check, severity, text, "s", "r")  # type: ignore[arg-type]


def test_errors_come_first_and_decide() -> None:
    report = Report.of(0, [finding("b", "warning"), finding("c"), finding("a")], [])
    assert [one.check for one in report.findings] == ["a", "c", "b"]
    assert not report.healthy
    assert Report.of(0, [finding("b", "warning")], [Unchecked("x", "y")]).healthy
    assert report.counts() == {("a", "error"): 1, ("c", "error"): 1, ("b", "warning"): 1}


def test_all_is_bounded() -> None:
    many = [finding("same", text=f"{number} " + "x" * 5000) for number in range(500)]
    report = Report.of(0, many, [])
    assert (len(report.findings), report.omitted) == (MAX_OF_ONE_CHECK, 490)
    assert len(report.findings[0].problem) == MAX_TEXT
    assert "and 490 more" in as_text(report)
    various = [finding(f"check-{number}") for number in range(300)]
    assert len(Report.of(0, various, []).findings) == MAX_FINDINGS
    both = merged([report, Report.of(0, [finding("other")], [Unchecked("x", "y")])], 7)
    assert (len(both.findings), both.omitted, both.examined_at_ms) == (MAX_OF_ONE_CHECK + 1, 490, 7)
    assert both.unchecked == (Unchecked("x", "y"),)


def test_a_healthy_report_says_so() -> None:
    assert as_text(Report.of(0, [], [])) == "0 errors, 0 warnings\n"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"findings": 3}', b'{"examined_at_ms": 1, "findings": [{}]}'])
def test_other_bytes_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidReport):
        decode(body)


def test_json_is_short_for_an_output() -> None:
    assert spelled(["--json", "--probe", "x"]) == ["--output=json", "--probe", "x"]
