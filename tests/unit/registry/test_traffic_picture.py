"""The picture of the traffic: everything lies within it, and more traffic is drawn thicker."""

from hypothesis import given
from hypothesis import strategies as st

from heliograph_registry.debug.adapters.html.traffic_picture import shortened, traffic_picture
from heliograph_registry.mirror.domain.traffic import Traffic

sizes = st.lists(st.integers(0, 1 << 40), max_size=12)


def traffic(amounts: list[int]) -> Traffic:
    made = Traffic()
    for number, size_bytes in enumerate(amounts):
        made.add(f"node-{number}", size_bytes)
    return made


@given(sizes, sizes)
def test_everything_lies_within_the_picture(received: list[int], sent: list[int]) -> None:
    picture = traffic_picture(traffic(received), traffic(sent))
    if picture is None:
        assert not received
        assert not sent
        return
    assert len(picture.received) == min(len(received), 6)
    assert len(picture.sent) == min(len(sent), 6)
    for line in (*picture.received, *picture.sent):
        assert 0 < line.y < picture.height
        assert 0 < line.x < picture.width
        assert 0 < line.thickness <= 18
    assert picture.box_y > 0
    assert picture.box_y + picture.box_height <= picture.height


def test_more_traffic_is_drawn_thicker() -> None:
    picture = traffic_picture(traffic([100, 10_000]), Traffic())
    assert picture is not None
    first, second = picture.received
    assert first.label == "node-1"
    assert first.thickness > second.thickness


def test_names_are_shortened_in_the_middle() -> None:
    assert shortened("node-1", 15) == "node-1"
    assert shortened("ip-10-0-12-34.ec2.internal", 15) == "ip-10-0…nternal"
    assert len(shortened("x" * 99, 15)) == 15
