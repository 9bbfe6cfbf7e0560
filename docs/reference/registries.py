"""The metrics of every service, as its own process would show them when it has just started."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from heliograph_configurator.adapters.metrics import ConfiguratorMetrics
from heliograph_indexer.adapters.metrics import IndexerMetrics
from heliograph_registry.adapters.metrics import RegistryMetrics
from heliograph_router.adapters.metrics import MetricSources, RouterMetrics
from heliograph_router.domain.cluster import Totals
from heliograph_shared.admin import OF_ALL_SERVICES

SERVICES = ("registry", "router", "indexer", "configurator")
EVERY_SERVICE = "every service"
EXAMINING = ("indexer", "configurator")
COUNTING = (*SERVICES, EVERY_SERVICE)


@dataclass(frozen=True, slots=True)
class Family:
    """A metric. `name` is as in queries, for a histogram without `_bucket`, `_sum` or `_count`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    documentation: str

    @property
    def samples(self) -> dict[str, frozenset[str]]:
        """Its series, with their labels."""
        labels = frozenset(self.labels)
        if self.kind != "histogram":
            return {self.name: labels}
        parts = {f"{self.name}_{part}": labels for part in ("sum", "count")}
        return {f"{self.name}_bucket": labels | {"le"}, **parts}


def families(service: str) -> list[Family]:
    """The service's own metrics, without those of Python and of its process."""
    found = {family.name: family for collector in _collectors(service) for family in _families(collector)}
    return [family for name, family in found.items() if name.startswith("heliograph_")]


def _collectors(service: str) -> Iterator[Collector]:
    registry = OF_ALL_SERVICES if service == EVERY_SERVICE else _METRICS[service]().collected
    yield from registry._collector_to_names  # noqa: SLF001 - no public name for what is registered


def _router() -> RouterMetrics:
    metrics, nothing = RouterMetrics(), Totals(*(0 for _ in fields(Totals)))
    metrics.read_from(
        MetricSources(
            totals=lambda: nothing,
            shared_names=lambda: 0,
            parked=lambda: 0,
            frozen=lambda: False,
            ready=lambda: True,
            current=lambda: True,
            connected=lambda: True,
        )
    )
    return metrics


class _HasMetrics(Protocol):
    @property
    def collected(self) -> CollectorRegistry: ...


_METRICS: Mapping[str, Callable[[], _HasMetrics]] = {
    "registry": RegistryMetrics,
    "router": _router,
    "indexer": IndexerMetrics,
    "configurator": ConfiguratorMetrics,
}


def _families(collector: Collector) -> Iterator[Family]:
    for metric in collector.collect():
        suffix = "_total" if metric.type == "counter" else ""
        # No public API gives the labels of a metric without samples; families of custom collectors have them.
        known_by: Any = collector if isinstance(collector, MetricWrapperBase) else metric
        labels = getattr(known_by, "_labelnames", ())
        yield Family(metric.name + suffix, metric.type, tuple(labels), metric.documentation)
