"""What `/metrics` of a watch shows after a reconciliation."""

from prometheus_client import generate_latest

from heliograph_configurator.adapters.metrics import ConfiguratorMetrics
from heliograph_configurator.domain.folder import Claim, HostsFile
from heliograph_configurator.domain.mirror import NO_TLS
from heliograph_configurator.domain.notes import UnusableFolder
from heliograph_configurator.domain.plan import ReleaseClaim, RestoreOriginal, WriteHosts
from heliograph_configurator.domain.reconcile_schedule import Intent
from heliograph_configurator.domain.result import ReconcileResult

CLAIM = Claim(None, folder_existed=False, written=())
STEPS = (
    WriteHosts("a.test", HostsFile(b"", 0o644), CLAIM, NO_TLS),
    RestoreOriginal("b.test", CLAIM),
    ReleaseClaim("c.test"),
)


def shown(intent: Intent, result: ReconcileResult) -> list[str]:
    metrics = ConfiguratorMetrics()
    metrics.count(intent, result)
    return generate_latest(metrics.collected).decode().splitlines()


def test_every_kind_of_change_has_a_label() -> None:
    lines = shown(Intent.MIRROR, ReconcileResult(steps=STEPS))
    for change in ("write", "restore", "release"):
        assert f'heliograph_configurator_folders_changed_total{{change="{change}"}} 1.0' in lines


def test_mirrors_are_written_only_without_problems() -> None:
    problem = ReconcileResult(notes=(UnusableFolder("a.test", "a file"),))
    for intent, result, written, problems in (
        (Intent.MIRROR, ReconcileResult(), 1, 0),
        (Intent.MIRROR, problem, 0, 1),
        (Intent.RESTORE, ReconcileResult(), 0, 0),
    ):
        lines = shown(intent, result)
        assert f"heliograph_configurator_mirrors_written {written}.0" in lines
        assert f"heliograph_configurator_problems {problems}.0" in lines


def test_the_process_and_the_platform_are_shown() -> None:
    lines = "\n".join(shown(Intent.MIRROR, ReconcileResult()))
    assert "process_resident_memory_bytes" in lines
    assert "python_info" in lines
