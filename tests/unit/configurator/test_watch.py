"""A watch goes on whatever its reconciliations come to, and logs each failure once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from heliograph_configurator import watch as module
from heliograph_configurator.domain.notes import LeftEdited, UnusableFolder
from heliograph_configurator.domain.reconcile_schedule import Intent
from heliograph_configurator.domain.result import ReconcileResult
from heliograph_configurator.errors import PathUnusable
from heliograph_configurator.watch import Watch
from tests.support.waiting import eventually

PATIENCE_S = 20.0


@dataclass
class FakeCerts:
    """A certs.d whose reconciliations give `result`, or fail for `reason`."""

    result: ReconcileResult = field(default_factory=ReconcileResult)
    reason: str = ""
    runs: list[tuple[Intent, ReconcileResult]] = field(default_factory=list)

    def reconcile(self, intent: Intent, previous: ReconcileResult) -> ReconcileResult:
        self.runs.append((intent, previous))
        if self.reason:
            raise PathUnusable(Path("/certs.d"), self.reason)
        return self.result


@dataclass
class FakeReadiness:
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


async def test_a_failure_is_logged_once_and_tried_again_until_it_is_gone() -> None:
    certs = FakeCerts(reason="Read-only file system")
    watch = Watch(certs.reconcile, None, withdraw_after_s=60, on_result=lambda *_: None)
    with capture_logs() as logs:
        async with running(watch):
            await eventually(lambda: len(certs.runs) > 1, PATIENCE_S)
            assert watch.unready_reason() == "/certs.d: Read-only file system"
            certs.reason = ""
            await eventually(lambda: watch.unready_reason() is None, PATIENCE_S)
    assert [entry["reason"] for entry in logs] == ["/certs.d: Read-only file system"]


async def test_notes_that_were_logged_are_remembered_over_a_failure() -> None:
    result = ReconcileResult(
        notes=(LeftEdited("quay.io", original_kept=True), UnusableFolder("reg.test", "a file"))
    )
    certs = FakeCerts(result)
    watch = Watch(certs.reconcile, None, withdraw_after_s=60, on_result=lambda *_: None)
    async with running(watch):
        await eventually(lambda: len(certs.runs) == 1, PATIENCE_S)
        await eventually(lambda: watch.unready_reason() == "reg.test: a file", PATIENCE_S)
        certs.reason = "Input/output error"
        watch.hint()
        await eventually(lambda: len(certs.runs) > 2, PATIENCE_S)
    assert certs.runs[-1][1].notes == result.notes


async def test_many_problems_are_summed_up() -> None:
    certs = FakeCerts(
        ReconcileResult(notes=tuple(UnusableFolder(f"r{number}.test", "a file") for number in range(9)))
    )
    watch = Watch(certs.reconcile, None, withdraw_after_s=60, on_result=lambda *_: None)
    async with running(watch):
        await eventually(lambda: str(watch.unready_reason()).endswith("r4.test: a file; 4 more"), PATIENCE_S)


async def test_the_registry_is_followed_and_each_result_reported() -> None:
    certs, registry, reported = FakeCerts(), FakeReadiness(), list[Intent]()
    watch = Watch(
        certs.reconcile, registry, withdraw_after_s=0.5, on_result=lambda intent, _: reported.append(intent)
    )
    registry.is_ready = True
    async with running(watch):
        await eventually(lambda: watch.unready_reason() is None, PATIENCE_S)
        registry.is_ready = False
        await eventually(lambda: "withdrawn" in str(watch.unready_reason()), PATIENCE_S)
        registry.is_ready = True
        await eventually(lambda: watch.unready_reason() is None, PATIENCE_S)
    assert reported == [Intent.MIRROR, Intent.RESTORE, Intent.MIRROR]
    assert [intent for intent, _ in certs.runs] == reported
