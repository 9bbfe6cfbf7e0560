"""Transfer slots limit how many blobs are sent at once."""

import pytest

from heliograph_registry.mirror.blobs import TransferSlots
from heliograph_registry.mirror.errors import Busy


def test_a_released_slot_can_be_taken_again() -> None:
    slots = TransferSlots(2)
    slots.take()
    slots.take()
    with pytest.raises(Busy, match="2 transfers"):
        slots.take()
    slots.release()
    slots.take()
