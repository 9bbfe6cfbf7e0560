"""Range headers (RFC 9110 section 14)."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.ranges import ByteRange, Span, parse_content_range, parse_range

sizes = st.integers(min_value=1, max_value=2**40)


@given(first=st.integers(0, 2**40), last=st.integers(0, 2**40), size=sizes)
def test_a_closed_range_is_cut_to_the_blob(first: int, last: int, size: int) -> None:
    parsed = parse_range(f"bytes={first}-{last}")
    if last < first:
        assert parsed is None
        return
    assert parsed is not None
    span = parsed.of(size)
    if first >= size:
        assert span is None
    else:
        assert span == Span(first, min(last, size - 1), size)


@given(first=st.integers(0, 2**40), size=sizes)
def test_an_open_range_goes_to_the_end(first: int, size: int) -> None:
    parsed = parse_range(f"bytes={first}-")
    assert parsed is not None
    assert parsed.of(size) == (Span(first, size - 1, size) if first < size else None)


@given(count=st.integers(1, 2**40), size=sizes)
def test_a_suffix_is_the_last_bytes(count: int, size: int) -> None:
    parsed = parse_range(f"bytes=-{count}")
    assert parsed is not None
    span = parsed.of(size)
    assert span is not None
    assert span.last == size - 1
    assert span.count == min(count, size)


@given(st.text(max_size=40))
def test_any_text_is_a_range_or_ignored(text: str) -> None:
    for header in (text, f"bytes={text}"):
        parsed = parse_range(header)
        if parsed is not None:
            assert parse_range(str(parsed)) == parsed


def test_headers_that_the_rfc_lets_a_server_ignore_are_ignored() -> None:
    for header in (
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=1-2,4-5",
        "items=0-1",
        "bytes=2-1",
        "bytes=x-",
    ):
        assert parse_range(header) is None
    assert parse_range("Bytes = 0 - 4") == ByteRange(0, 4)


def test_no_range_of_an_empty_blob_is_satisfiable() -> None:
    for header in ("bytes=0-", "bytes=0-0", "bytes=-1"):
        parsed = parse_range(header)
        assert parsed is not None
        assert parsed.of(0) is None


@given(first=st.integers(0, 2**40), last=st.integers(0, 2**40), size=sizes)
def test_only_a_consistent_content_range_is_parsed(first: int, last: int, size: int) -> None:
    parsed = parse_content_range(f"bytes {first}-{last}/{size}")
    assert parsed == (Span(first, last, size) if first <= last < size else None)


@given(st.text(max_size=40))
def test_any_content_range_is_parsed_or_refused(text: str) -> None:
    parsed = parse_content_range(text)
    assert parsed is None or parse_content_range(parsed.content_range) == parsed
