"""No request stays without its first byte for so long that containerd gives up, however long it may wait."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from heliograph_registry.mirror import waiting as module
from heliograph_registry.mirror.deadline import LONGEST_S, Deadline
from heliograph_registry.mirror.domain.reason import Reason
from heliograph_registry.mirror.errors import NotServed
from heliograph_registry.mirror.waiting import WaitingRequests
from heliograph_registry.settings import Settings
from heliograph_shared.digest import Digest, digest_of

FIRST_BYTE_S = 0.05
DIGEST = digest_of(b"x")


class Peering:
    """Its routers answer after a while."""

    def __init__(self, answers_after_s: float) -> None:
        self.answers_after_s = answers_after_s

    async def resolve(self, keys: Sequence[Digest], *, wait_s: float = 0) -> list[Any]:
        await asyncio.sleep(self.answers_after_s)
        return ["somebody"]


async def waited_s(answers_after_s: float, then_s: float = 0) -> float:
    """How long a request takes until it is refused for its time."""
    peering: Any = Peering(answers_after_s)
    waiting = WaitingRequests(peering, wait_s=60, first_byte_s=FIRST_BYTE_S)

    async def ask() -> None:
        async with Deadline(FIRST_BYTE_S) as bound:
            await waiting.resolution(DIGEST, None, bound)
            await asyncio.sleep(then_s)

    began = time.monotonic()
    with pytest.raises(NotServed) as refused:
        await ask()
    assert refused.value.reason is Reason.TIMEOUT
    return time.monotonic() - began


async def test_a_wait_ends_with_the_longest_time_that_a_request_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LONGEST_S", 0.3)
    assert 0.25 < await waited_s(answers_after_s=30) < 5


async def test_after_a_wait_the_first_byte_has_its_usual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_S", 30)
    assert 0.15 < await waited_s(answers_after_s=0.1, then_s=60) < 5


async def test_after_a_long_wait_the_first_byte_has_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_S", 2.2)
    peering: Any = Peering(answers_after_s=1.2)
    async with Deadline(1.1) as bound:
        began = (bound.when() or 0) - 1.1
        await WaitingRequests(peering, wait_s=60, first_byte_s=1.1).resolution(DIGEST, None, bound)
        assert bound.when() == pytest.approx(began + 2.2)


def test_every_setting_keeps_within_it() -> None:
    for name in ("wait_ms", "first_byte_timeout_ms"):
        (longest_ms,) = [limit.le for limit in Settings.model_fields[name].metadata if hasattr(limit, "le")]
        assert longest_ms / 1000 < LONGEST_S < 30
