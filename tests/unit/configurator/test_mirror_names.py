"""The doctor's question to a mirror whose name cannot be looked up."""

import pytest

from heliograph_configurator.adapters.mirror_http import ask_mirror


@pytest.mark.parametrize("host", ["mirror..example", "a" * 64])
def test_a_name_that_cannot_be_looked_up_is_a_mirror_that_does_not_answer(host: str) -> None:
    assert ask_mirror(f"http://{host}:5000").reason
