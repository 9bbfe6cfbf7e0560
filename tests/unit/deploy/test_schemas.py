"""Every object is what the API servers of several Kubernetes versions accept, with no field they drop."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.unit.deploy.manifests import DEPLOY, containers, default, of_kind, render, with_components

# The oldest one that is promised, and what was current at the release.
VERSIONS = ("1.30", "1.36", "1.37")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(version: str) -> None:
    for manifest in default():
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_on_ipv6(version: str, tmp_path: Path) -> None:
    for manifest in with_components(tmp_path, "ipv6"):
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_misspelt_field_would_be_found(version: str) -> None:
    daemon_set = copy.deepcopy(of_kind("DaemonSet", default())["heliograph-node"])
    daemon_set["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError, match="livenessprobe"):
        kubernetes_validate.validate(daemon_set, version, strict=True)


def test_everything_is_in_the_one_namespace() -> None:
    cluster_wide = of_kind("Namespace", default())
    assert set(cluster_wide) == {"heliograph"}
    for manifest in default():
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "heliograph"


def test_selectors_find_the_pods_that_are_meant() -> None:
    labels = {
        found["metadata"]["name"]: found["spec"]["template"]["metadata"]["labels"]
        for found in default()
        if found["kind"] in {"DaemonSet", "Deployment", "StatefulSet"}
    }
    for found in default():
        name, spec = found["metadata"]["name"].removesuffix("-routes"), found.get("spec", {})
        name = "heliograph-node" if name == "heliograph-registry" else name
        selector = spec.get("selector", {})
        wanted = selector.get("matchLabels", selector)
        assert wanted.items() <= labels.get(name, {}).items(), found["kind"]


def test_only_one_pod_of_a_kind_is_disturbed_at_a_time() -> None:
    budgets = of_kind("PodDisruptionBudget", default())

    assert set(budgets) == {"heliograph-router", "heliograph-nats"}
    assert {budget["spec"]["maxUnavailable"] for budget in budgets.values()} == {1}


def test_the_overlay_shown_to_operators_moves_one_folder(tmp_path: Path) -> None:
    shown = (DEPLOY / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    base = os.path.relpath(DEPLOY / "overlays" / "default", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(shown.replace("../default", base))

    moved = (
        containers(render(tmp_path))["indexer"].host_paths() - containers(default())["indexer"].host_paths()
    )
    assert moved == {("/run/k3s/containerd", "ro")}


def test_the_uninstall_shown_to_operators_turns_the_right_container() -> None:
    command = (DEPLOY / "README.md").read_text().partition("--patch \\\n")[2].partition("'\n")[0].strip(" '")
    (change,) = json.loads(command)
    place: Any = of_kind("DaemonSet", default())["heliograph-node"]
    for step in change["path"].split("/")[1:-1]:
        place = place[int(step) if isinstance(place, list) else step]

    assert (change["op"], change["value"]) == ("replace", ["cleanup"])
    assert (place["name"], place["args"]) == ("configurator", ["apply"])
