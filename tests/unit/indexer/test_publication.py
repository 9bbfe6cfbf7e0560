"""Bus contract v1 as a state machine: whatever happens in a store, a reader of the bus ends up with it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_indexer.adapters.bus_messages import BusMessages
from heliograph_indexer.domain.content import (
    BlobAdded,
    BlobRemoved,
    Holdings,
    StoreContent,
    StoreEvent,
    TagRemoved,
    TagSet,
    TagTarget,
)
from heliograph_indexer.domain.publication import Delta, Publication
from heliograph_shared.digest import Digest, digest_of
from heliograph_shared.events import ContentChanged
from tests.unit.indexer.replica import Replica, content_of

MESSAGES = BusMessages("worker-1", "zone-a")
DIGESTS = [digest_of(bytes([n])) for n in range(6)] + [digest_of(b"long", "sha512")]
REFERENCES = [f"reg.test/app:v{n}" for n in range(4)]
ROOM_BYTES = 400

digests = st.sampled_from(DIGESTS)
references = st.sampled_from(REFERENCES)
sizes = st.integers(0, 2**50)
times = st.integers(0, 2**45)
store_events = st.one_of(
    st.builds(BlobAdded, digests, sizes),
    st.builds(BlobRemoved, digests),
    st.builds(TagSet, references, digests, times),
    st.builds(TagRemoved, references),
)
contents = st.builds(
    StoreContent,
    st.dictionaries(digests, sizes),
    st.dictionaries(references, st.builds(TagTarget, digests, times)),
)
TAKE = "take"
histories = st.lists(st.one_of(store_events, contents, st.just(TAKE)), max_size=60)


def sent(deltas: Sequence[Delta]) -> list[ContentChanged]:
    return [MESSAGES.changed(delta) for delta in deltas]


def play(publication: Publication, history: Sequence[StoreEvent | StoreContent | str]) -> list[Delta]:
    """Everything that was taken, with one last take; changes come as events or as whole listings."""
    deltas: list[Delta] = []
    for step in history:
        match step:
            case str():
                deltas += publication.take_deltas()
            case StoreContent():
                publication.replace(step)
            case _:
                publication.apply(step)
    return deltas + publication.take_deltas()


def held(history: Sequence[StoreEvent | StoreContent | str]) -> StoreContent:
    holdings = Holdings()
    for step in history:
        match step:
            case str():
                pass
            case StoreContent():
                for event in list(holdings.events_to_reach(step)):
                    holdings.apply(event)
            case TagSet(reference, digest) if reference in holdings.tags:
                if holdings.tags[reference].digest != digest:
                    holdings.apply(step)
            case _:
                holdings.apply(step)
    return StoreContent(holdings.blobs, holdings.tags)


@given(histories)
def test_replaying_every_message_gives_the_stores_content(
    history: list[StoreEvent | StoreContent | str],
) -> None:
    replica = Replica()
    for message in sent(play(Publication(1, ROOM_BYTES), history)):
        replica.apply(message)
    assert replica.content == held(history)


@given(st.lists(st.tuples(histories, st.frozensets(digests)), max_size=5), st.frozensets(digests))
def test_what_is_withheld_is_not_published(
    parts: list[tuple[list[StoreEvent | StoreContent | str], frozenset[Digest]]], last: frozenset[Digest]
) -> None:
    publication, replica = Publication(1, ROOM_BYTES), Replica()
    deltas: list[Delta] = []
    for history, withheld in parts:
        deltas += play(publication, history)
        publication.withhold(withheld)
    count = publication.withhold(last)
    deltas += publication.take_deltas()
    for message in sent(deltas):
        replica.apply(message)
    content = held([step for history, _ in parts for step in history])
    assert replica.content.tags == content.tags
    assert replica.content.blobs == {
        digest: size for digest, size in content.blobs.items() if digest not in last
    }
    assert count == publication.advertised(0).withheld == len(content.blobs.keys() & last)
    publication.outbid(5)
    for message in sent(publication.take_deltas()):
        assert not {*message.added} & last


@given(histories)
def test_a_snapshot_is_what_replaying_gave_and_nothing_newer(
    history: list[StoreEvent | StoreContent | str],
) -> None:
    publication, replica = Publication(1, ROOM_BYTES), Replica()
    for message in sent(play(publication, history)):
        replica.apply(message)
    publication.apply(BlobAdded(digest_of(b"not published yet"), 1))

    chunks = list(MESSAGES.snapshot(publication.snapshot(("10.0.0.1:5000",))))

    assert chunks[0].sequence == replica.sequence
    assert chunks[0].addresses == ["10.0.0.1:5000"]
    assert chunks[0].zone == "zone-a"
    assert content_of(chunks) == replica.content


@given(histories, store_events)
def test_what_came_and_went_between_two_messages_leaves_no_trace(
    history: list[StoreEvent | StoreContent | str], event: StoreEvent
) -> None:
    publication = Publication(1)
    play(publication, history)
    before = StoreContent(dict(publication.live.blobs), dict(publication.live.tags))
    publication.apply(event)
    publication.replace(before)
    assert publication.take_deltas() == []


@given(histories)
def test_nothing_pending_publishes_nothing(history: list[StoreEvent | StoreContent | str]) -> None:
    publication = Publication(1)
    play(publication, history)
    position = publication.position
    assert publication.take_deltas() == []
    assert publication.position == position


@given(histories, histories, st.integers(0, 2**40))
def test_going_above_another_incarnation_publishes_everything_anew(
    before: list[StoreEvent | StoreContent | str], after: list[StoreEvent | StoreContent | str], known: int
) -> None:
    publication = Publication(1, ROOM_BYTES)
    play(publication, before)
    publication.outbid(known)

    replica = Replica()
    for message in sent(play(publication, after)):
        assert message.incarnation == known + 1
        replica.apply(message)

    assert replica.content == held([*before, *after])
    assert publication.position.incarnation == known + 1


def test_a_batch_is_one_message_with_the_next_sequence() -> None:
    publication = Publication(7)
    publication.apply(BlobAdded(DIGESTS[0], 10))
    publication.apply(BlobAdded(DIGESTS[1], 20))
    publication.apply(TagSet(REFERENCES[0], DIGESTS[0], 1000))
    (first,) = sent(publication.take_deltas())
    publication.apply(BlobRemoved(DIGESTS[0]))
    publication.apply(TagRemoved(REFERENCES[0]))
    (second,) = sent(publication.take_deltas())

    assert (first.incarnation, first.sequence, second.sequence) == (7, 1, 2)
    assert first.added == {DIGESTS[0]: 10, DIGESTS[1]: 20}
    assert first.tagged[REFERENCES[0]].tagged_at_ms == 1000
    assert (second.removed, second.untagged) == ([DIGESTS[0]], [REFERENCES[0]])
    assert (second.inventory.digests, second.inventory.tags) == (1, 0)


def test_an_empty_store_has_a_snapshot_of_one_empty_chunk() -> None:
    (chunk,) = MESSAGES.snapshot(Publication(1).snapshot())
    assert (chunk.chunk, chunk.chunks, chunk.sequence, chunk.content) == (0, 1, 0, {})


@pytest.mark.parametrize("event", [BlobRemoved(Digest("sha256:" + "0" * 64)), TagRemoved("reg.test/a:b")])
def test_the_removal_of_what_was_never_published_is_not_published(event: StoreEvent) -> None:
    publication = Publication(1)
    publication.apply(event)
    assert publication.take_deltas() == []


def test_a_tag_keeps_its_time_while_it_points_at_the_same_digest() -> None:
    publication = Publication(1)
    publication.apply(TagSet(REFERENCES[0], DIGESTS[0], 1000))
    assert publication.take_deltas()
    publication.apply(TagSet(REFERENCES[0], DIGESTS[0], 2000))
    publication.replace(StoreContent({}, {REFERENCES[0]: TagTarget(DIGESTS[0], 3000, 4000)}))
    assert publication.take_deltas() == []
    assert publication.live.tags[REFERENCES[0]].tagged_at_ms == 1000


def test_a_tag_that_moves_has_the_time_of_the_move() -> None:
    publication = Publication(1)
    publication.apply(TagSet(REFERENCES[0], DIGESTS[0], 1000))
    publication.replace(StoreContent({}, {REFERENCES[0]: TagTarget(DIGESTS[1], 500, 2000)}))
    (delta,) = sent(publication.take_deltas())
    assert delta.tagged[REFERENCES[0]].tagged_at_ms == 2000
