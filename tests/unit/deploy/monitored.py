"""What the monitoring component brings: alerts, what is scraped, and the queries of all of it."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.unit.deploy.manifests import DEPLOY, Manifest, of_kind, render

# What a scrape adds to every series: Prometheus itself, the operator, and our own relabelling.
OF_TARGETS = frozenset({"container", "instance", "job", "namespace", "node", "pod"})
_SELECTOR = re.compile(r"\b(heliograph_\w+|up)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


@dataclass(frozen=True, slots=True)
class Query:
    where: str
    text: str

    def selectors(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Each series that it reads, with the labels that it matches and the values that it names."""
        for name, matchers in _SELECTOR.findall(self.text):
            yield name, [(label, value) for label, _, value in _MATCHER.findall(matchers)]

    def grouped_by(self) -> set[str]:
        return {label.strip() for labels in _GROUPING.findall(self.text) for label in labels.split(",")}


@cache
def monitored() -> list[Manifest]:
    """The default installation with the component, by the overlay that its README shows."""
    component = DEPLOY / "components" / "monitoring"
    shown = (component / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    with TemporaryDirectory() as made:
        folder = Path(made).resolve()
        for path, target in (
            ("../default", DEPLOY / "overlays" / "default"),
            ("../../components/monitoring", component),
        ):
            assert f"- {path}\n" in shown
            shown = shown.replace(f"- {path}\n", f"- {os.path.relpath(target, folder)}\n")
        (folder / "kustomization.yaml").write_text(shown)
        return render(folder)


def rule_groups() -> list[Manifest]:
    (rules,) = of_kind("PrometheusRule", monitored()).values()
    groups: list[Manifest] = rules["spec"]["groups"]
    return groups


def alerts() -> dict[str, Manifest]:
    return {rule["alert"]: rule for group in rule_groups() for rule in group["rules"]}


def dashboard() -> Manifest:
    found: Manifest = json.loads(
        of_kind("ConfigMap", monitored())["heliograph-dashboard"]["data"]["heliograph.json"]
    )
    return found


def panels() -> list[Manifest]:
    """Those that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    """Of alerts and panels alike."""
    of_panels = [Query(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    return [*(Query(name, alert["expr"]) for name, alert in alerts().items()), *of_panels]
