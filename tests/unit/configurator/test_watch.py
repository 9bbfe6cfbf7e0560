"""A watch goes on whatever its looks come to, and tells each trouble once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from heliograph_configurator import watch as module
from heliograph_configurator.domain.course import Intent
from heliograph_configurator.domain.plan import LeftEdited, Unusable
from heliograph_configurator.errors import PathUnusable
from heliograph_configurator.service import Outcome
from heliograph_configurator.watch import Watch
from tests.support.waiting import eventually

PATIENCE_S = 20.0


@dataclass
class Folder:
    """certs.d that does as it is told: `outcome`, or a failure for `reason`."""

    outcome: Outcome = field(default_factory=Outcome)
    reason: str = ""
    looks: list[tuple[Intent, Outcome]] = field(default_factory=list)

    def look(self, intent: Intent, before: Outcome) -> Outcome:
        self.looks.append((intent, before))
        if self.reason:
            raise PathUnusable(Path("/certs.d"), self.reason)
        return self.outcome


@dataclass
class Registry:
    is_ready: bool = False

    async def ready(self) -> bool:
        return self.is_ready


@asynccontextmanager
async def running(watch: Watch) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_EVERY_S", 0.01)


async def test_a_failure_is_told_once_and_tried_again_until_it_is_none() -> None:
    folder = Folder(reason="Read-only file system")
    watch = Watch(folder.look, None, withdraw_after_s=60, report=lambda *_: None)
    with capture_logs() as logs:
        async with running(watch):
            await eventually(lambda: len(folder.looks) > 1, PATIENCE_S)
            assert watch.unready_reason() == "/certs.d: Read-only file system"
            folder.reason = ""
            await eventually(lambda: watch.unready_reason() is None, PATIENCE_S)
    assert [entry["reason"] for entry in logs] == ["/certs.d: Read-only file system"]


async def test_what_was_told_is_remembered_over_a_failure() -> None:
    outcome = Outcome(notes=(LeftEdited("quay.io", original_kept=True), Unusable("reg.test", "a file")))
    folder = Folder(outcome)
    watch = Watch(folder.look, None, withdraw_after_s=60, report=lambda *_: None)
    async with running(watch):
        await eventually(lambda: len(folder.looks) == 1, PATIENCE_S)
        await eventually(lambda: watch.unready_reason() == "reg.test: a file", PATIENCE_S)
        folder.reason = "Input/output error"
        watch.hint()
        await eventually(lambda: len(folder.looks) > 2, PATIENCE_S)
    assert folder.looks[-1][1].notes == outcome.notes


async def test_many_problems_are_summed_up() -> None:
    folder = Folder(Outcome(notes=tuple(Unusable(f"r{number}.test", "a file") for number in range(9))))
    watch = Watch(folder.look, None, withdraw_after_s=60, report=lambda *_: None)
    async with running(watch):
        await eventually(lambda: str(watch.unready_reason()).endswith("r4.test: a file; 4 more"), PATIENCE_S)


async def test_the_registry_is_followed_and_each_look_reported() -> None:
    folder, registry, reported = Folder(), Registry(), list[Intent]()
    watch = Watch(
        folder.look, registry, withdraw_after_s=0.5, report=lambda intent, _: reported.append(intent)
    )
    registry.is_ready = True
    async with running(watch):
        await eventually(lambda: watch.unready_reason() is None, PATIENCE_S)
        registry.is_ready = False
        await eventually(lambda: "withdrawn" in str(watch.unready_reason()), PATIENCE_S)
        registry.is_ready = True
        await eventually(lambda: watch.unready_reason() is None, PATIENCE_S)
    assert reported == [Intent.MIRROR, Intent.RESTORE, Intent.MIRROR]
    assert [intent for intent, _ in folder.looks] == reported
