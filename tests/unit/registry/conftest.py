"""Tests of use cases that are marked so run on a clock that jumps: their deadlines take no time."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.support.fakes.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """`pytest.mark.asyncio(loop_factories=["virtual time"])` asks for it."""
    marked = item.get_closest_marker("asyncio")
    if marked is not None and marked.kwargs.get("loop_factories"):
        return {"virtual time": VirtualTimeLoop}
    return {"real time": asyncio.new_event_loop}
