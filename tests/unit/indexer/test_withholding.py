"""What the registry cannot serve is reported once for every change."""

import asyncio
from contextlib import suppress

import pytest

from heliograph_indexer import withholding
from heliograph_indexer.withholding import follow_unservable
from heliograph_shared.digest import Digest, digest_of
from tests.support.waiting import eventually

A, B = digest_of(b"a"), digest_of(b"b")


class Answers:
    """Gives one answer after another, and the last one for ever."""

    def __init__(self, *answers: frozenset[Digest] | None) -> None:
        self.left = list(answers)

    async def unservable(self) -> frozenset[Digest] | None:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


async def test_only_changes_are_reported_and_silence_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(withholding, "_POLL_S", 0.0)
    nothing: frozenset[Digest] = frozenset()
    registry = Answers(
        None, nothing, nothing, frozenset({A}), frozenset({A}), None, frozenset({A, B}), nothing
    )
    reports: list[frozenset[Digest]] = []
    task = asyncio.create_task(follow_unservable(registry, reports.append))
    await eventually(lambda: len(reports) == 3)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert reports == [frozenset({A}), frozenset({A, B}), nothing]
