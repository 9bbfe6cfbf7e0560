"""What a watch counts, for Prometheus."""

from typing import assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector

from heliograph_configurator.domain.plan import ReleaseClaim, RestoreOriginal, Step, WriteHosts
from heliograph_configurator.domain.reconcile_schedule import Intent
from heliograph_configurator.domain.result import ReconcileResult
from heliograph_shared.findings_publisher import doctor_findings


class ConfiguratorMetrics:
    def __init__(self) -> None:
        self.collected = CollectorRegistry()
        ProcessCollector(registry=self.collected)
        PlatformCollector(registry=self.collected)
        self.collected.register(doctor_findings)
        self._mirrors_written = Gauge(
            "heliograph_configurator_mirrors_written",
            "1 while the mirrors are written to certs.d, without problems",
            registry=self.collected,
        )
        self._problems = Gauge(
            "heliograph_configurator_problems",
            "Problems that the last reconciliation of certs.d could not solve",
            registry=self.collected,
        )
        self._changes = Counter(
            "heliograph_configurator_folders_changed_total",
            "Folders that were changed in certs.d",
            ["change"],
            registry=self.collected,
        )

    def count(self, intent: Intent, result: ReconcileResult) -> None:
        """Count one reconciliation that was run for `intent`."""
        self._mirrors_written.set(intent is Intent.MIRROR and result.complete)
        self._problems.set(len(result.problems))
        for step in result.steps:
            self._changes.labels(_change(step)).inc()


def _change(step: Step) -> str:
    match step:
        case WriteHosts():
            return "write"
        case RestoreOriginal():
            return "restore"
        case ReleaseClaim():
            return "release"
        case _:
            assert_never(step)
