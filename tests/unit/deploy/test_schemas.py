"""Every object is what the API servers of several Kubernetes versions accept, with no field they drop."""

import copy
import tomllib
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.unit.deploy.manifests import DEPLOY, MIXES, OVERLAYS, default, mixed, of_kind, pods
from tests.unit.deploy.validation import VERSIONS, validate

every_mix = pytest.mark.parametrize("mix", MIXES, ids="+".join)
CHOSEN = ("basic-auth", "cleanup", "external-nats", "ipv6", "tls")
HOST_FOLDERS = {
    "containerd": "/run/containerd",
    "containerd-config": "/etc/containerd",
    "content": "/var/lib/containerd/io.containerd.content.v1.content",
    "certs-d": "/etc/containerd/certs.d",
}
K3S = "/var/lib/rancher/k3s/agent"
ELSEWHERE = {
    "k3s": {
        "containerd": "/run/k3s/containerd",
        "containerd-config": f"{K3S}/etc/containerd",
        "content": f"{K3S}/containerd/io.containerd.content.v1.content",
        "certs-d": f"{K3S}/etc/containerd/certs.d",
    },
    "talos": {"containerd-config": "/etc/cri", "certs-d": "/etc/cri/conf.d/hosts"},
    "gke": {"certs-d": "/etc/containerd/hosts.d"},
}


@pytest.mark.parametrize("version", VERSIONS)
@every_mix
def test_every_object_is_valid(mix: tuple[str, ...], version: str) -> None:
    for manifest in mixed(*mix):
        validate(manifest, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_misspelt_field_would_be_found(version: str) -> None:
    daemon_set = copy.deepcopy(of_kind("DaemonSet", default())["heliograph-node"])
    daemon_set["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError, match="livenessprobe"):
        validate(daemon_set, version)


def test_every_overlay_and_component_is_tried() -> None:
    folders = {folder.name for folder in (DEPLOY / "overlays").iterdir()}
    assert folders == set(OVERLAYS) == {overlay for overlay, *_ in MIXES}
    assert {component for _, *components in MIXES for component in components} == set(CHOSEN)
    assert all((DEPLOY / "components" / name / "kustomization.yaml").exists() for name in CHOSEN)


@every_mix
def test_everything_is_in_the_one_namespace(mix: tuple[str, ...]) -> None:
    assert set(of_kind("Namespace", mixed(*mix))) == {"heliograph"}
    for manifest in mixed(*mix):
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "heliograph"
        assert manifest["metadata"]["labels"]["app.kubernetes.io/part-of"] == "heliograph"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_points_at_its_nodes_folders(overlay: str) -> None:
    pod = pods(mixed(overlay))["heliograph-node"]
    found = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    assert found == HOST_FOLDERS | ELSEWHERE.get(overlay, {})

    indexer = next(container for container in pod["containers"] if container["name"] == "indexer")
    told = {entry["name"]: entry.get("value") for entry in indexer["env"]}
    assert told["HELIOGRAPH_REGISTRY_CONFIG_PATH"] == found["certs-d"]
    # The doctor follows what is imported there, so it must see the folder under the node's own name for it.
    (mount,) = [mount for mount in indexer["volumeMounts"] if mount["name"] == "containerd-config"]
    assert mount["mountPath"] == found["containerd-config"]
    assert told["HELIOGRAPH_CONTAINERD_CONFIG_PATH"].rpartition("/")[0] == mount["mountPath"]


def test_no_pod_is_placed_on_fargate() -> None:
    terms = pods(mixed("eks"))["heliograph-node"]["affinity"]["nodeAffinity"]
    (term,) = terms["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    (expression,) = term["matchExpressions"]
    assert expression == {
        "key": "eks.amazonaws.com/compute-type",
        "operator": "NotIn",
        "values": ["fargate"],
    }


@pytest.mark.parametrize("overlay", OVERLAYS[1:])
def test_what_was_not_run_says_so(overlay: str) -> None:
    assert "**Rendered and validated, not run" in (DEPLOY / "overlays" / overlay / "README.md").read_text()


def plugins_in(file: str, *path: Any) -> dict[str, Any]:
    """What a file for operators tells containerd's plugins; it must be TOML."""
    found: Any = yaml.safe_load((DEPLOY / "overlays" / file).read_text())
    if "apiVersion" in found:
        validate(found, VERSIONS[0])
    for step in path:
        found = found[step]
    plugins: dict[str, Any] = tomllib.loads(found)["plugins"]
    return plugins


@pytest.mark.parametrize(
    ("file", "path", "config_path"),
    [
        ("kind/cluster.yaml", ("containerdConfigPatches", 0), "/etc/containerd/certs.d"),
        ("eks/node-config.yaml", ("spec", "containerd", "config"), "/etc/containerd/certs.d"),
        ("talos/machine.yaml", ("machine", "files", 0, "content"), None),
    ],
)
def test_nodes_are_told_to_keep_layers(file: str, path: tuple[Any, ...], config_path: str | None) -> None:
    images = plugins_in(file, *path)["io.containerd.cri.v1.images"]
    assert images["discard_unpacked_layers"] is False
    assert images.get("registry", {}).get("config_path") == config_path


def test_so_are_those_of_older_kinds() -> None:
    cri = plugins_in("kind/cluster.yaml", "containerdConfigPatches", 1)["io.containerd.grpc.v1.cri"]
    assert cri["containerd"]["discard_unpacked_layers"] is False
    assert cri["registry"]["config_path"] == "/etc/containerd/certs.d"


def test_a_field_that_a_custom_resource_does_not_have_would_be_found() -> None:
    cluster = yaml.safe_load((DEPLOY / "overlays" / "kind" / "cluster.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError, match="containerdConfigPatch"):
        validate({**cluster, "containerdConfigPatch": []}, VERSIONS[0])


@every_mix
def test_selectors_find_the_pods_that_are_meant(mix: tuple[str, ...]) -> None:
    labels = {
        found["metadata"]["name"]: found["spec"]["template"]["metadata"]["labels"]
        for found in mixed(*mix)
        if found["kind"] in {"DaemonSet", "Deployment", "StatefulSet"}
    }
    for found in mixed(*mix):
        name, spec = found["metadata"]["name"].removesuffix("-routes"), found.get("spec", {})
        name = "heliograph-node" if name == "heliograph-registry" else name
        selector = spec.get("selector") or spec.get("podSelector", {})
        wanted = selector.get("matchLabels", selector)
        assert wanted.items() <= labels.get(name, {}).items(), found["kind"]


def test_only_one_pod_of_a_kind_is_disturbed_at_a_time() -> None:
    budgets = of_kind("PodDisruptionBudget", default())

    assert set(budgets) == {"heliograph-router", "heliograph-nats"}
    assert {budget["spec"]["maxUnavailable"] for budget in budgets.values()} == {1}


@pytest.mark.parametrize("name", ["heliograph-router", "heliograph-nats"])
def test_replicas_are_spread_over_nodes_and_zones(name: str) -> None:
    pod = pods(default())[name]
    spread = {found["topologyKey"] for found in pod["topologySpreadConstraints"]}
    assert spread == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    for found in pod["topologySpreadConstraints"]:
        assert found["labelSelector"]["matchLabels"] == {"app.kubernetes.io/name": name}
        assert found["whenUnsatisfiable"] == "ScheduleAnyway"


def test_names_in_dns_are_of_pods_and_not_of_a_balanced_address() -> None:
    services = of_kind("Service", default())
    headless = {name for name, found in services.items() if found["spec"].get("clusterIP") == "None"}
    assert headless == {"heliograph-router", "heliograph-registry", "heliograph-nats-routes"}
    assert set(services) - headless == {"heliograph-nats"}
