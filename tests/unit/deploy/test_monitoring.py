"""The monitoring component asks for what there is, and its alerts fire when they should and not else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from docs.reference.labels import values
from docs.reference.metrics import QUESTIONS
from docs.reference.registries import COUNTING, families
from tests.support.promtool import absent, promtool
from tests.unit.deploy.alert_cases import CASES, Series
from tests.unit.deploy.manifests import ROOT, of_kind, pods
from tests.unit.deploy.monitored import (
    OF_TARGETS,
    Query,
    alerts,
    dashboard,
    monitored,
    panels,
    queries,
    rule_groups,
)

SCHEMAS = Path(__file__).with_name("schemas")
RUNBOOKS = "https://github.com/heliograph/heliograph/blob/main/docs/troubleshooting.md#"
SAMPLES = {
    name: labels
    for service in COUNTING
    for family in families(service)
    for name, labels in family.samples.items()
} | {"up": frozenset[str]()}
FAMILY_OF = {
    sample: family.name for service in COUNTING for family in families(service) for sample in family.samples
}
EVERY_QUERY = [*queries(), *(Query(question, text) for question, text in QUESTIONS.items())]
needs_promtool = pytest.mark.skipif(bool(absent()), reason=absent() or "-")


def schema(kind: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((SCHEMAS / f"{kind.lower()}.json").read_text()))


# --- what is read exists ---------------------------------------------------------------------------


def unknown_in(query: Query) -> list[str]:
    """What a query reads that no service has."""
    wrong, labels = [], {"le"} | OF_TARGETS
    for name, matchers in query.selectors():
        if name not in SAMPLES:
            wrong.append(name)
            continue
        labels |= SAMPLES[name]
        for label, value in matchers:
            if label not in SAMPLES[name] | OF_TARGETS:
                wrong.append(f"{name}.{label}")
            elif label not in OF_TARGETS:
                wrong += [f"{name}.{label}={one}" for one in value.split("|") if not takes(name, label, one)]
    return wrong + [f"by {label}" for label in query.grouped_by() - labels]


def takes(sample: str, label: str, value: str) -> bool:
    """Whether a label can have the value; a variable of the dashboard, or no bounded set, may be anything."""
    told = values(FAMILY_OF[sample], label)
    return value.startswith("$") or "`" not in told.partition(";")[0] or f"`{value}`" in told


@pytest.mark.parametrize("query", EVERY_QUERY, ids=lambda query: query.where)
def test_queries_read_only_what_the_services_have(query: Query) -> None:
    assert list(query.selectors())
    assert unknown_in(query) == []


@pytest.mark.parametrize(
    "text",
    [
        "heliograph_registry_request_total",
        'heliograph_registry_requests_total{status="200"}',
        'heliograph_registry_requests_total{outcome=~"local|mirrored"}',
        "sum by (source) (heliograph_registry_requests_total)",
        "heliograph_registry_first_byte_seconds",  # a histogram has no series of its own name
        'heliograph_registry_transfers{le="1"}',
    ],
)
def test_what_does_not_exist_would_be_found(text: str) -> None:
    assert unknown_in(Query("", text))


def test_the_dashboard_shows_every_metric_that_there_is() -> None:
    shown = {FAMILY_OF[name] for query in queries() for name, _ in query.selectors() if name != "up"}
    assert shown == set(FAMILY_OF.values())


# --- what is scraped, and the custom resources -----------------------------------------------------


@pytest.mark.parametrize("kind", ["PodMonitor", "PrometheusRule"])
def test_custom_resources_fit_their_schemas(kind: str) -> None:
    found = of_kind(kind, monitored())
    assert found
    for manifest in found.values():
        schema(kind).validate(manifest)
        assert manifest["metadata"]["namespace"] == "heliograph"
        with pytest.raises(ValidationError):
            schema(kind).validate({**manifest, "spec": {**manifest["spec"], "selectors": {}}})


def test_every_admin_port_is_scraped() -> None:
    labels = {
        found["metadata"]["name"]: found["spec"]["template"]["metadata"]["labels"]
        for found in monitored()
        if found["kind"] in {"DaemonSet", "Deployment"}
    }
    for name, monitor in of_kind("PodMonitor", monitored()).items():
        spec = monitor["spec"]
        assert spec["selector"]["matchLabels"].items() <= labels[name].items()
        assert spec["jobLabel"] in labels[name]
        pod = pods(monitored())[name]
        containers = [*pod["containers"], *pod.get("initContainers", [])]
        ports = {port["name"] for container in containers for port in container.get("ports", [])}
        scraped = {endpoint["port"] for endpoint in spec["podMetricsEndpoints"]}
        assert scraped == {port for port in ports if port.endswith("admin")}
        for endpoint in spec["podMetricsEndpoints"]:
            targets = {relabelling["targetLabel"] for relabelling in endpoint["relabelings"]}
            assert targets <= OF_TARGETS
    assert set(of_kind("PodMonitor", monitored())) == {"heliograph-node", "heliograph-router"}


# --- the dashboard ---------------------------------------------------------------------------------


def test_the_dashboard_is_one_that_grafana_takes_from_its_sidecar() -> None:
    mapped = of_kind("ConfigMap", monitored())["heliograph-dashboard"]
    assert mapped["metadata"]["labels"]["grafana_dashboard"] == "1"
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in dashboard()["panels"]]
    assert len(set(titles)) == len(titles)
    assert {"Is it working?", "What does it save?", "Why not?"} <= set(titles)
    variables = {variable["name"] for variable in dashboard()["templating"]["list"]}
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            used = set(re.findall(r"\$\{?(\w+)", target["expr"])) - {"__range", "__rate_interval"}
            assert used <= variables


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at: dict[str, int] = panel["gridPos"]
        cells = {(at["x"] + right, at["y"] + down) for right in range(at["w"]) for down in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


# --- alerts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_what_to_do(name: str) -> None:
    annotations = alerts()[name]["annotations"]
    anchor = annotations["runbook_url"].removeprefix(RUNBOOKS)
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert anchor == name.lower()
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
    left = Query(name, alerts()[name]["expr"]).grouped_by() | OF_TARGETS
    for text in annotations.values():
        assert set(re.findall(r"\$labels\.(\w+)", text)) <= left


def test_every_alert_has_series_that_make_it_fire_and_series_that_do_not() -> None:
    assert set(CASES) == set(alerts())
    assert all(case.quiet for case in CASES.values())


@needs_promtool
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": rule_groups()}))
    assert f"{len(alerts())} rules found" in promtool("check", "rules", rules)
    rules.write_text(rules.read_text().replace("$labels.pod }}", "$labels.pod }"))
    with pytest.raises(AssertionError, match="template"):
        promtool("check", "rules", rules)


@needs_promtool
@pytest.mark.parametrize("kind", ["fires", "quiet"])
def test_alerts_fire_when_they_should_and_not_else(kind: str, tmp_path: Path) -> None:
    promtool("test", "rules", *alert_tests(tmp_path, kind))


@needs_promtool
def test_an_alert_that_does_not_fire_would_be_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as printed:
        promtool("test", "rules", *alert_tests(tmp_path, "fires", given="quiet"))
    assert set(re.findall(r"alertname: (\w+)", str(printed.value))) == set(alerts())


def alert_tests(folder: Path, expected: str, given: str | None = None) -> list[Path]:
    """Files of promtool's tests: alerts are expected to fire or to be quiet, on the series given.

    Annotations are left out, which the tests would have to repeat.
    """
    files = []
    for name, case in CASES.items():
        rule = {**alerts()[name], "annotations": {}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"groups": [{"name": name, "rules": [rule]}]}))
        alert: dict[str, Any] = {"eval_time": f"{case.at}m", "alertname": name, "exp_alerts": []}
        if expected == "fires":
            alert["exp_alerts"] = [{"exp_labels": {**rule["labels"], **case.labels}}]
        series = [case.fires] if (given or expected) == "fires" else case.quiet
        tests = [alert_test(one, alert) for one in series]
        files.append(folder / f"{name}-test.yaml")
        files[-1].write_text(yaml.safe_dump({"rule_files": [f"{name}.yaml"], "tests": tests}))
    return files


def alert_test(series: Series, expected: dict[str, Any]) -> dict[str, Any]:
    inputs = [{"series": name, "values": shown} for name, shown in series.items()]
    return {"interval": "1m", "input_series": inputs, "alert_rule_test": [expected]}
