"""Snapshots are put together from their chunks."""

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
def test_chunks_in_any_order_and_repeated_make_the_whole_snapshot(
    order: list[int], data: st.DataObject
) -> None:
    parts = chunks(WHOLE, len(order))
    assembled = Assembly()
    for place, number in enumerate(order):
        if place and data.draw(st.booleans()):
            assert assembled.add(parts[order[place - 1]]) is None
        whole = assembled.add(parts[number])
        assert (whole is not None) == (place == len(order) - 1)
    assert whole == WHOLE


def test_chunks_of_two_states_are_not_mixed() -> None:
    later = replace(WHOLE, sequence=10, content={DIGESTS[0]: 1, DIGESTS[1]: 1})
    assembled = Assembly()
    assert assembled.add(chunks(WHOLE, 2)[0]) is None
    assert assembled.add(chunks(later, 2)[1]) is None
    assert assembled.add(chunks(WHOLE, 2)[1]) is None
    assert assembled.add(chunks(later, 2)[0]) == later


def test_a_chunk_beyond_the_last_is_ignored() -> None:
    assembled = Assembly()
    part = chunks(WHOLE, 2)
    assembled.add(part[0])
    assert assembled.add(replace(part[1], number=7)) is None
    assert assembled.add(part[1]) == WHOLE


def test_a_snapshot_that_is_too_large_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "MAX_ENTRIES", 5)
    with pytest.raises(TooLarge):
        Assembly().add(chunks(WHOLE, 2)[0])
