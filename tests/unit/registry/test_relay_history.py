"""What is remembered about history blobs: repeats, sources of bytes, and ranges that must not be refused."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.ranges import ByteRange, parse_range
from heliograph_registry.mirror.domain.relay_history import RelayHistory, StartedBlobs, start_of
from heliograph_shared.digest import digest_of

DIGEST, OTHER = digest_of(b"one"), digest_of(b"other")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def from_byte(first: int) -> ByteRange:
    return ByteRange(first, None)


def test_the_same_first_byte_again_is_a_repeat_until_five_minutes_have_passed() -> None:
    clock = Clock()
    history = RelayHistory(clock)
    assert not history.is_repeat(DIGEST, None)
    history.add(DIGEST, None, ["a"])
    assert history.is_repeat(DIGEST, None)
    assert history.is_repeat(DIGEST, from_byte(0))
    assert not history.is_repeat(OTHER, None)
    clock.now += 301
    assert not history.is_repeat(DIGEST, None)
    assert history.nodes(DIGEST) == frozenset()


@given(st.sets(st.integers(0, 1 << 40), max_size=50))
def test_the_ranges_of_a_pull_are_no_repeats_and_those_of_a_second_pull_are(starts: set[int]) -> None:
    history = RelayHistory(Clock())
    for start in starts:
        assert not history.is_repeat(DIGEST, from_byte(start))
        history.add(DIGEST, from_byte(start), [f"node-{start % 3}"])
    assert all(history.is_repeat(DIGEST, from_byte(start)) for start in starts)
    assert history.nodes(DIGEST) == {f"node-{start % 3}" for start in starts}


def test_a_blob_whose_bytes_were_right_is_forgotten() -> None:
    history = RelayHistory(Clock())
    history.add(DIGEST, None, ["a"])
    assert list(history) == [DIGEST]
    history.forget(DIGEST)
    history.forget(OTHER)
    assert not history.is_repeat(DIGEST, None)
    assert list(history) == []


def test_a_range_must_not_be_refused_once_after_another_was_sent() -> None:
    blobs = StartedBlobs(Clock())
    assert blobs.must_not_refuse(DIGEST, from_byte(10)) is None
    blobs.started(DIGEST, 100)
    assert blobs.must_not_refuse(DIGEST, from_byte(10)) == 100
    assert blobs.must_not_refuse(DIGEST, from_byte(20)) == 100
    assert blobs.must_not_refuse(DIGEST, from_byte(10)) is None
    assert blobs.must_not_refuse(OTHER, from_byte(10)) is None


def test_a_started_blob_is_forgotten_after_five_minutes() -> None:
    clock = Clock()
    blobs = StartedBlobs(clock)
    blobs.started(DIGEST, 100)
    clock.now += 301
    assert blobs.must_not_refuse(DIGEST, from_byte(10)) is None


def test_a_suffix_range_never_starts_like_another_range() -> None:
    assert start_of(None) == start_of(parse_range("bytes=0-")) == 0
    assert start_of(parse_range("bytes=-5")) == -5
    assert start_of(parse_range("bytes=5-9")) == 5
