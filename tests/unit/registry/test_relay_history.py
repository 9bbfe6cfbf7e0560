"""What is remembered about relayed blobs: repeats, sources of bytes, and ranges that must not be refused."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.mirror.domain.ranges import ByteRange, parse_range
from heliograph_registry.mirror.domain.relay_history import RelayHistory, StartedBlobs, start_of
from heliograph_shared.digest import digest_of

DIGEST, OTHER = digest_of(b"one"), digest_of(b"other")
SIZE = 1000


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def from_byte(first: int) -> ByteRange:
    return ByteRange(first, None)


def send(
    history: RelayHistory, wanted: ByteRange | None, count: int, *, client: str = "c", node: str = "a"
) -> None:
    """A client is sent `count` bytes of the blob of 1,000 bytes."""
    history.add(DIGEST, client, wanted, SIZE, {node: count})


def test_a_whole_blob_again_is_a_repeat_until_five_minutes_have_passed() -> None:
    clock = Clock()
    history = RelayHistory(clock)
    assert not history.is_repeat(DIGEST, "c", None)
    send(history, None, SIZE)
    assert history.is_repeat(DIGEST, "c", None)
    assert history.is_repeat(DIGEST, "c", from_byte(0))
    assert not history.is_repeat(OTHER, "c", None)
    assert not history.is_repeat(DIGEST, "another client", None)
    clock.now += 301
    assert not history.is_repeat(DIGEST, "c", None)
    assert history.nodes(DIGEST) == frozenset()


def test_a_small_range_again_is_no_repeat_before_a_blobs_worth_was_sent() -> None:
    history = RelayHistory(Clock())
    for _ in range(17):
        assert not history.is_repeat(DIGEST, "c", ByteRange(0, 49))
        send(history, ByteRange(0, 49), 50)
    assert not history.is_repeat(DIGEST, "c", ByteRange(0, 49))
    send(history, ByteRange(0, 49), 50)
    assert history.is_repeat(DIGEST, "c", ByteRange(0, 49))
    assert not history.is_repeat(DIGEST, "c", ByteRange(50, 99))


@given(st.sets(st.integers(0, 1 << 40), min_size=1, max_size=50))
def test_the_ranges_of_a_pull_are_no_repeats_and_those_of_a_second_pull_are(starts: set[int]) -> None:
    history = RelayHistory(Clock())
    for start in starts:
        assert not history.is_repeat(DIGEST, "c", from_byte(start))
        history.add(DIGEST, "c", from_byte(start), 100 * len(starts), {f"node-{start % 3}": 100})
    assert all(history.is_repeat(DIGEST, "c", from_byte(start)) for start in starts)
    assert history.nodes(DIGEST) == {f"node-{start % 3}" for start in starts}


@given(
    st.lists(
        st.tuples(
            st.integers(0, SIZE - 1), st.integers(1, SIZE), st.sampled_from("abc"), st.sampled_from("xy")
        ),
        max_size=200,
    )
)
def test_hashing_moves_little_more_than_what_clients_were_sent(
    requests: list[tuple[int, int, str, str]],
) -> None:
    """However a client asks: between two times that a blob is hashed, about as much of it has been sent."""
    history = RelayHistory(Clock())
    sent = hashed = 0
    for first, count, node, client in requests:
        wanted = ByteRange(first, min(first + count, SIZE) - 1)
        if history.is_repeat(DIGEST, client, wanted):
            hashed += SIZE
            history.was_right(DIGEST, node)
            assert not history.is_repeat(DIGEST, client, wanted)
        else:
            moved = wanted.of(SIZE).count  # type: ignore[union-attr]
            sent += moved
            send(history, wanted, moved, client=client, node=node)
    assert hashed <= sent * 8 / 7
    assert hashed <= 3 * SIZE  # once for each node: then all three are known to be right


def test_what_was_hashed_and_right_counts_no_more() -> None:
    clock = Clock()
    history = RelayHistory(clock)
    send(history, None, SIZE, node="a")
    history.was_right(DIGEST, "b")
    assert not history.nodes(DIGEST)
    assert history.right_nodes(DIGEST) == {"b"}
    for _ in range(2):
        send(history, None, SIZE, node="b")
        assert not history.is_repeat(DIGEST, "c", None)
    send(history, None, SIZE, node="a")
    assert history.is_repeat(DIGEST, "c", None)
    assert history.nodes(DIGEST) == {"a"}
    history.was_right(DIGEST, "a")
    assert history.right_nodes(DIGEST) == {"a", "b"}
    clock.now += 301
    assert history.right_nodes(DIGEST) == frozenset()


def test_a_blob_whose_bytes_were_right_is_forgotten() -> None:
    history = RelayHistory(Clock())
    send(history, None, SIZE)
    assert list(history) == [DIGEST]
    history.forget(DIGEST)
    history.forget(OTHER)
    assert not history.is_repeat(DIGEST, "c", None)
    assert list(history) == []


def test_what_is_remembered_is_bounded() -> None:
    history = RelayHistory(Clock())
    for number in range(17):
        send(history, None, SIZE, client=f"c{number}")
    assert [history.is_repeat(DIGEST, f"c{number}", None) for number in (0, 1, 16)] == [False, True, True]
    for blob in range(80):
        digest = digest_of(b"%d" % blob)
        for start in range(1100):
            history.add(digest, "c", from_byte(start), 1000, {"a": 1000})
        assert history.is_repeat(digest, "c", from_byte(1023))
        assert not history.is_repeat(digest, "c", from_byte(1024))
    assert 60 <= len(list(history)) <= 64


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
