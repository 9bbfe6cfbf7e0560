"""The pages that are made from the code leave nothing out, and names keep Prometheus' rules."""

import re

import pytest

from docs.reference import configuration, metrics
from docs.reference.labels import values
from docs.reference.registries import COUNTING, EVERY_SERVICE, Family, families

FAMILIES = [(service, family) for service in COUNTING for family in families(service)]
OF_SEVERAL = {"heliograph_doctor_findings"}


@pytest.mark.parametrize(("service", "family"), FAMILIES, ids=lambda one: getattr(one, "name", one))
def test_a_metric_is_named_by_the_rules_and_described(service: str, family: Family) -> None:
    """See https://prometheus.io/docs/practices/naming/."""
    prefix = "heliograph_" if service == EVERY_SERVICE else f"heliograph_{service}_"
    assert family.name.startswith(prefix) or family.name in OF_SEVERAL
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert not re.search("_(ms|milliseconds|kb|mb|minutes|percent)(_|$)", family.name)
    if family.kind == "histogram":
        assert family.name.endswith(("_seconds", "_bytes"))
    assert family.documentation
    assert f"| `{family.name}` |" in metrics.page()
    for label in family.labels:
        assert values(family.name, label), (
            f"{label} of {family.name} is described in docs/reference/labels.py"
        )
    assert not {"node", "peer", "digest", "image", "repository", "tag"} & set(family.labels)


def test_no_two_services_use_one_name() -> None:
    names = [family.name for _, family in FAMILIES if family.name not in OF_SEVERAL]
    assert len(names) == len(set(names))
    assert {service for service, _ in FAMILIES} == set(COUNTING)


def test_every_setting_is_on_the_page_with_what_it_does() -> None:
    page = configuration.page()
    for name, fields in configuration.settings().items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `HELIOGRAPH_{name.upper()}`"))
        cells = re.split(r"(?<!\\)\|", row)[1:-1]
        assert len(cells) == 5
        assert all(cell.strip() for cell in cells), row
        for service, field in fields.items():
            assert field.description, f"{name} of {service} has no description"
            assert field.description.replace("|", "\\|") in row


@pytest.mark.parametrize(
    "row",
    [
        "`--peer-attempts` | registry | whole number, over 0, at most 16 | `3` |",
        "| `HELIOGRAPH_RESOLVE_TAGS`<br>`--resolve-tags` | configurator | `true` or `false` | `true` |",
        "| `HELIOGRAPH_NATS_URL`<br>`--nats-url` | router, indexer | list | `nats://127.0.0.1:4222` |",
        "| `HELIOGRAPH_NODE_NAME`<br>`--node-name` | registry, indexer | text | the host's name |",
        "| `HELIOGRAPH_STATE_PATH`<br>`--state-path` | registry, indexer | path |",
        "| `HELIOGRAPH_ROUTER_LISTEN`<br>`--router-listen` | router | host:port | `[::]:5001` |",
        "| `HELIOGRAPH_CONTENT_STORE`<br>`--content-store` | indexer | `containerd` or `oci-layout` |",
    ],
)
def test_types_bounds_and_defaults_are_told(row: str) -> None:
    assert row in configuration.page()
