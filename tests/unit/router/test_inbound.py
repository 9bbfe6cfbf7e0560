"""The age of a message, by its own headers, which any publisher can forge."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_router.adapters.inbound import _age_s
from heliograph_shared.bus_client import Message


def sent_at(text: str | None) -> Message:
    header = "" if text is None else f"ce-time: {text}\r\n"
    return Message("", b"", f"NATS/1.0\r\n{header}\r\n".encode())


@pytest.mark.parametrize(("ago_s", "least", "most"), [(2, 2, 50), (-2, 0, 0), (86_400, 60, 60)])
def test_the_lag_is_the_difference_of_two_clocks_within_bounds(ago_s: int, least: float, most: float) -> None:
    sent = datetime.now(UTC) - timedelta(seconds=ago_s)
    age_s = _age_s(sent_at(sent.isoformat(timespec="milliseconds").replace("+00:00", "Z")))
    assert age_s is not None
    assert least - 0.001 <= age_s <= most


@given(st.none() | st.text() | st.datetimes().map(datetime.isoformat) | st.from_regex(r"\d{4}-\d\d-\d\dT.*"))
def test_no_time_in_a_header_is_an_error(text: str | None) -> None:
    age_s = _age_s(sent_at(text))
    assert age_s is None or 0 <= age_s <= 60


@given(st.binary())
def test_malformed_headers_are_no_error(raw: bytes) -> None:
    assert isinstance(Message("", b"", raw).headers, dict)
