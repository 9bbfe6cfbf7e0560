"""The metrics of every service, as its own process would show them when it has just started."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from heliograph_router.adapters.metrics import State
from heliograph_router.domain.cluster import Totals
from heliograph_shared.admin import OF_ALL_SERVICES
from heliograph_shared.findings_publisher import doctor_findings

SERVICES = ("registry", "router", "indexer", "configurator")
EVERY_SERVICE = "every service"
EXAMINING = ("indexer", "configurator")
COUNTING = (*SERVICES, EVERY_SERVICE)


@dataclass(frozen=True, slots=True)
class Family:
    """A metric; `name` as queries spell it, of a histogram without `_bucket`, `_sum` or `_count`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    documentation: str

    @property
    def samples(self) -> dict[str, frozenset[str]]:
        """The series that it makes, with their labels."""
        labels = frozenset(self.labels)
        if self.kind != "histogram":
            return {self.name: labels}
        parts = {f"{self.name}_{part}": labels for part in ("sum", "count")}
        return {f"{self.name}_bucket": labels | {"le"}, **parts}


def families(service: str) -> list[Family]:
    """What it counts, of its own; what Python and its process tell of themselves is left out."""
    found = {family.name: family for collector in _collectors(service) for family in _families(collector)}
    return [family for name, family in found.items() if name.startswith("heliograph_")]


def _collectors(service: str) -> Iterator[Collector]:
    if service == EVERY_SERVICE:
        yield from OF_ALL_SERVICES._collector_to_names  # noqa: SLF001 - as below
        return
    name = f"heliograph_{service}.adapters.metrics"
    if find_spec(name) is None:
        return
    if service in EXAMINING:
        yield doctor_findings
    module = import_module(name)
    if hasattr(module, "Metrics"):
        yield from _registered(module)
    else:  # those of prometheus_client's own registry, which is one for all in this process
        yield from (value for value in vars(module).values() if isinstance(value, MetricWrapperBase))


def _registered(module: ModuleType) -> Iterator[Collector]:
    metrics = module.Metrics()
    if hasattr(metrics, "follow") and module.__name__.startswith("heliograph_router."):
        nothing = Totals(*(0 for _ in fields(Totals)))
        metrics.follow(State(lambda: nothing, lambda: 0, lambda: False, lambda: True, lambda: True))
    registry: CollectorRegistry = metrics.collected
    yield from registry._collector_to_names  # noqa: SLF001 - no public name for what is registered


def _families(collector: Collector) -> Iterator[Family]:
    for metric in collector.collect():
        suffix = "_total" if metric.type == "counter" else ""
        # Without samples there is no public way to the labels; a collector's own families know theirs.
        known_by: Any = collector if isinstance(collector, MetricWrapperBase) else metric
        labels = getattr(known_by, "_labelnames", ())
        yield Family(metric.name + suffix, metric.type, tuple(labels), metric.documentation)
