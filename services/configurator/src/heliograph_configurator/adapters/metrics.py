"""What a watch counts."""

from prometheus_client import Counter, Gauge

from heliograph_configurator.domain.course import Intent
from heliograph_configurator.service import Outcome

mirrors_written = Gauge(
    "heliograph_configurator_mirrors_written",
    "1 while containerd is pointed at the mirrors, as far as the settings ask",
)
problems = Gauge("heliograph_configurator_problems", "What the last look at certs.d could not do")
changes = Counter(
    "heliograph_configurator_folders_changed_total",
    "Folders that were changed in certs.d",
    labelnames=["change"],
)


def report(intent: Intent, outcome: Outcome) -> None:
    """What came of a look."""
    mirrors_written.set(intent is Intent.MIRROR and outcome.complete)
    problems.set(len(outcome.problems))
    for step in outcome.steps:
        changes.labels(type(step).__name__.lower()).inc()
