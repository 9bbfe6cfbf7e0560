"""The picture of the exchange: everything lies within it, and what is more is drawn thicker."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.debug.adapters.html.traffic_picture import drawn, shortened
from heliograph_registry.mirror.domain.traffic import Traffic

sizes = st.lists(st.integers(0, 1 << 40), max_size=12)


def ledger(amounts: list[int]) -> Traffic:
    made = Traffic()
    for number, size_bytes in enumerate(amounts):
        made.add(f"node-{number}", size_bytes)
    return made


@given(sizes, sizes)
def test_all_lies_within_the_picture(taken: list[int], given_: list[int]) -> None:
    drawing = drawn(ledger(taken), ledger(given_))
    if drawing is None:
        assert not taken
        assert not given_
        return
    assert len(drawing.taken) == min(len(taken), 6)
    assert len(drawing.given) == min(len(given_), 6)
    for line in (*drawing.taken, *drawing.given):
        assert 0 < line.y < drawing.height
        assert 0 < line.x < drawing.width
        assert 0 < line.thickness <= 18
    assert drawing.box_y > 0
    assert drawing.box_y + drawing.box_height <= drawing.height


def test_what_is_more_is_thicker() -> None:
    drawing = drawn(ledger([100, 10_000]), Traffic())
    assert drawing is not None
    first, second = drawing.taken
    assert first.label == "node-1"
    assert first.thickness > second.thickness


def test_names_are_shortened_in_the_middle() -> None:
    assert shortened("node-1", 15) == "node-1"
    assert shortened("ip-10-0-12-34.ec2.internal", 15) == "ip-10-0…nternal"
    assert len(shortened("x" * 99, 15)) == 15
