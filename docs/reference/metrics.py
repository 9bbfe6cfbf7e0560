"""`docs/metrics.md`, on standard output: every metric of every service, from their definitions."""

import sys

from docs.reference.labels import values
from docs.reference.registries import COUNTING, Family, families

_HEAD = """\
# Metrics

*Made by `make docs` from the definitions in the code.*

Every service serves them at `/metrics` of its admin port, in Prometheus' format: registry 9090, indexer 9091,
router 9092, configurator 9093. [`deploy/components/monitoring`](../deploy/components/monitoring) has a
dashboard for Grafana, alerts, and what the Prometheus operator needs to find the pods. Beside what is listed
here, each tells of its process and of Python (`process_*`, `python_*`).

Sets of labels are bounded, and no label is a node's name: Prometheus names the pod itself.
"""
_REQUESTS = "heliograph_registry_requests_total"
QUESTIONS = {
    "Is it working? Requests a second, by what came of them": (
        f'sum by (outcome) (rate({_REQUESTS}{{asker="client"}}[5m]))'
    ),
    "What does it save? Bytes a second that did not come from upstream": (
        'sum(rate(heliograph_registry_sent_bytes_total{asker="client",source!="none"}[5m]))'
    ),
    "Why not? Requests a second that were not served, by reason": (
        f'sum by (reason) (rate({_REQUESTS}{{asker="client",reason!="none"}}[5m]))'
    ),
    "What does a miss cost a pull? Seconds, of 99 in 100": (
        "histogram_quantile(0.99, sum by (le) "
        '(rate(heliograph_registry_first_byte_seconds_bucket{source="none"}[5m])))'
    ),
    "How late do routers hear of what a node has pulled? Seconds, of 99 in 100": (
        "histogram_quantile(0.99, sum by (le) (rate(heliograph_router_event_lag_seconds_bucket[5m])))"
    ),
}


def page() -> str:
    found = {service: sorted(families(service), key=lambda family: family.name) for service in COUNTING}
    tables = [_table(service, metrics) for service, metrics in found.items() if metrics]
    return "\n".join(
        [_HEAD, _questions(), *tables, _labels([one for metrics in found.values() for one in metrics])]
    )


def _questions() -> str:
    rows = [f"| {question} | `{query}` |" for question, query in QUESTIONS.items()]
    return "\n".join(["## Questions\n", "| question | query |", "|---|---|", *rows, ""])


def _table(service: str, metrics: list[Family]) -> str:
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} "
        f"| {one.documentation} |"
        for one in metrics
    ]
    return "\n".join([f"## {service}\n", "| metric | type | labels | what |", "|---|---|---|---|", *rows, ""])


def _labels(metrics: list[Family]) -> str:
    """Labels that mean the same are told once."""
    used: dict[tuple[str, str], list[str]] = {}
    for one in metrics:
        for label in one.labels:
            used.setdefault((label, values(one.name, label)), []).append(f"`{one.name}`")
    rows = [
        f"| `{label}` | {', '.join(dict.fromkeys(names))} | {described} |"
        for (label, described), names in sorted(used.items())
    ]
    return "\n".join(["## Labels\n", "| label | of | values |", "|---|---|---|", *rows, ""])


if __name__ == "__main__":
    sys.stdout.write(page())
