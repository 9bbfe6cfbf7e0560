"""What is remembered of relays: repeats, where bytes came from, and what was promised."""

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
    relayed = RelayHistory(clock)
    assert not relayed.is_repeat(DIGEST, None)
    relayed.add(DIGEST, None, ["a"])
    assert relayed.is_repeat(DIGEST, None)
    assert relayed.is_repeat(DIGEST, from_byte(0))
    assert not relayed.is_repeat(OTHER, None)
    clock.now += 301
    assert not relayed.is_repeat(DIGEST, None)
    assert relayed.nodes(DIGEST) == frozenset()


@given(st.sets(st.integers(0, 1 << 40), max_size=50))
def test_the_ranges_of_one_pull_are_no_repeats_and_those_of_a_second_are(starts: set[int]) -> None:
    relayed = RelayHistory(Clock())
    for start in starts:
        assert not relayed.is_repeat(DIGEST, from_byte(start))
        relayed.add(DIGEST, from_byte(start), [f"node-{start % 3}"])
    assert all(relayed.is_repeat(DIGEST, from_byte(start)) for start in starts)
    assert relayed.nodes(DIGEST) == {f"node-{start % 3}" for start in starts}


def test_what_proved_right_is_forgotten() -> None:
    relayed = RelayHistory(Clock())
    relayed.add(DIGEST, None, ["a"])
    assert list(relayed) == [DIGEST]
    relayed.forget(DIGEST)
    relayed.forget(OTHER)
    assert not relayed.is_repeat(DIGEST, None)
    assert list(relayed) == []


def test_a_part_is_only_owed_after_another_was_sent_and_only_once() -> None:
    promises = StartedBlobs(Clock())
    assert promises.owed(DIGEST, from_byte(10)) is None
    promises.made(DIGEST, 100)
    assert promises.owed(DIGEST, from_byte(10)) == 100
    assert promises.owed(DIGEST, from_byte(20)) == 100
    assert promises.owed(DIGEST, from_byte(10)) is None
    assert promises.owed(OTHER, from_byte(10)) is None


def test_a_promise_is_forgotten_after_five_minutes() -> None:
    clock = Clock()
    promises = StartedBlobs(clock)
    promises.made(DIGEST, 100)
    clock.now += 301
    assert promises.owed(DIGEST, from_byte(10)) is None


def test_a_suffix_starts_elsewhere_than_a_range() -> None:
    assert start_of(None) == start_of(parse_range("bytes=0-")) == 0
    assert start_of(parse_range("bytes=-5")) == -5
    assert start_of(parse_range("bytes=5-9")) == 5
