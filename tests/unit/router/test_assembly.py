"""Snapshots from their chunks."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_router.domain import assembly
from heliograph_router.domain.assembly import Assembly, Chunk, TooLarge
from heliograph_router.domain.events import ReceivedSnapshot, TagClaim
from tests.unit.router.simulated import DIGESTS, REFERENCES, inventory_of

WHOLE = ReceivedSnapshot(
    "node",
    5,
    9,
    dict.fromkeys(DIGESTS, 1),
    {REFERENCES[0]: TagClaim(DIGESTS[0], 1)},
    ("node:5000",),
    "zone",
    inventory_of({}, {}),
)


def chunks(whole: ReceivedSnapshot, count: int) -> list[Chunk]:
    digests = list(whole.content)
    return [
        Chunk(
            number,
            count,
            replace(
                whole,
                content=dict.fromkeys(digests[number::count], 1),
                tags=whole.tags if number == 0 else {},
            ),
        )
        for number in range(count)
    ]


@given(st.integers(1, 12).flatmap(lambda count: st.permutations(range(count))), st.data())
def test_chunks_in_any_order_and_repeated_make_the_whole(order: list[int], data: st.DataObject) -> None:
    parts = chunks(WHOLE, len(order))
    collected = Assembly()
    for place, number in enumerate(order):
        if place and data.draw(st.booleans()):
            assert collected.add(parts[order[place - 1]]) is None
        whole = collected.add(parts[number])
        assert (whole is not None) == (place == len(order) - 1)
    assert whole == WHOLE


def test_chunks_of_two_states_are_not_mixed() -> None:
    later = replace(WHOLE, sequence=10, content={DIGESTS[0]: 1, DIGESTS[1]: 1})
    collected = Assembly()
    assert collected.add(chunks(WHOLE, 2)[0]) is None
    assert collected.add(chunks(later, 2)[1]) is None
    assert collected.add(chunks(WHOLE, 2)[1]) is None
    assert collected.add(chunks(later, 2)[0]) == later


def test_a_chunk_beyond_the_last_is_passed_over() -> None:
    collected = Assembly()
    part = chunks(WHOLE, 2)
    collected.add(part[0])
    assert collected.add(replace(part[1], number=7)) is None
    assert collected.add(part[1]) == WHOLE


def test_a_snapshot_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "MAX_ENTRIES", 5)
    with pytest.raises(TooLarge):
        Assembly().add(chunks(WHOLE, 2)[0])
