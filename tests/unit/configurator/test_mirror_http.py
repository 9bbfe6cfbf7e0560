"""The doctor requests a mirror whose name cannot be resolved."""

import pytest

from heliograph_configurator.adapters.mirror_http import ask_mirror


@pytest.mark.parametrize("host", ["mirror..example", "a" * 64])
def test_an_invalid_host_name_is_a_mirror_that_does_not_answer(host: str) -> None:
    assert ask_mirror(f"http://{host}:5000").reason
