"""How much may be under way at once."""

import pytest

from heliograph_registry.mirror.errors import Busy
from heliograph_registry.mirror.transfer_slots import TransferSlots


def test_a_place_that_was_released_can_be_taken_again() -> None:
    places = TransferSlots(2)
    places.take()
    places.take()
    with pytest.raises(Busy, match="2 transfers"):
        places.take()
    places.release()
    places.take()
