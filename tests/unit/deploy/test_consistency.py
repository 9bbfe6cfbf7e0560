"""What no schema says and an API server or a kubelet would refuse, or wait for without end."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from tests.unit.deploy.manifests import MIXES, Manifest, containers, mixed, of_kind, pods

every_mix = pytest.mark.parametrize("mix", MIXES, ids="+".join)
# Secrets that an operator makes, by the component that needs them.
OWN = {
    "basic-auth": {"heliograph-basic-auth"},
    "tls": {f"heliograph-{name}-tls" for name in ("indexer", "nats", "registry", "router")},
}


def repeated(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def sources(volume: Manifest) -> Iterator[tuple[str, str, list[str]]]:
    """Secrets and ConfigMaps of a volume: kind, name, and the paths of those files that are chosen."""
    for source in volume.get("projected", volume).get("sources", [volume]):
        for key, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
            if key in source:
                found = source[key]
                paths = [item["path"] for item in found.get("items", [])]
                yield kind, found.get("name") or found["secretName"], paths


@every_mix
def test_mounts_are_of_volumes_that_are_there_and_used(mix: tuple[str, ...]) -> None:
    for name, pod in pods(mixed(*mix)).items():
        there = [volume["name"] for volume in pod.get("volumes", [])]
        mounted = set()
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            mounts = container.get("volumeMounts", [])
            mounted |= {mount["name"] for mount in mounts}
            assert not repeated(mount["mountPath"] for mount in mounts), container["name"]
        assert not repeated(there), name
        assert mounted == set(there), name


@every_mix
def test_nothing_is_mounted_within_a_volume_that_nobody_can_write_to(mix: tuple[str, ...]) -> None:
    """The folder for it could not be made. Folders of the node are there already."""
    for container in containers(mixed(*mix)).values():
        volumes = {volume["name"]: volume for volume in container.pod.get("volumes", [])}
        paths = {
            mount["mountPath"]: volumes[mount["name"]] for mount in container.spec.get("volumeMounts", [])
        }
        for path in paths:
            outer = [other for other in paths if path.startswith(f"{other}/")]
            assert all("emptyDir" in paths[other] for other in outer), (container.name, path)


@every_mix
def test_what_is_mounted_comes_along_or_is_named_in_a_readme(mix: tuple[str, ...]) -> None:
    made = {kind: set(of_kind(kind, mixed(*mix))) for kind in ("Secret", "ConfigMap")}
    for component in mix[1:]:
        made["Secret"] |= OWN.get(component, set())
    used: dict[str, set[str]] = {"Secret": set(), "ConfigMap": set()}
    for pod in pods(mixed(*mix)).values():
        for volume in pod.get("volumes", []):
            paths: list[str] = []
            for kind, name, chosen in sources(volume):
                used[kind].add(name)
                paths += chosen
            assert not repeated(paths), volume["name"]
    wanted = (
        made if "external-nats" not in mix else {**made, "Secret": made["Secret"] - {"heliograph-nats-tls"}}
    )
    assert used == wanted


@every_mix
def test_ports_and_variables_have_one_meaning(mix: tuple[str, ...]) -> None:
    for name, pod in pods(mixed(*mix)).items():
        everyone = [*pod.get("initContainers", []), *pod["containers"]]
        ports = [port for container in everyone for port in container.get("ports", [])]
        assert not repeated(port["name"] for port in ports), name
        assert not repeated(str(port["containerPort"]) for port in ports), name
        for port in ports:
            assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?", port["name"]), "RFC 6335"
        for container in everyone:
            assert not repeated(entry["name"] for entry in container.get("env", [])), container["name"]


@every_mix
def test_services_policies_and_probes_name_ports_that_are_there(mix: tuple[str, ...]) -> None:
    manifests = mixed(*mix)
    ports = {
        name: {port["name"] for container in pod["containers"] for port in container.get("ports", [])}
        | {port["name"] for container in pod.get("initContainers", []) for port in container.get("ports", [])}
        for name, pod in pods(manifests).items()
    }
    for service in of_kind("Service", manifests).values():
        (pod,) = service["spec"]["selector"].values()
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports[pod]
    for policy in of_kind("NetworkPolicy", manifests).values():
        (pod,) = policy["spec"]["podSelector"]["matchLabels"].values()
        named = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        assert named <= ports[pod]
    for container in containers(manifests).values():
        for kind, probe in container.spec.items():
            if kind.endswith("Probe"):
                own = {port["name"] for port in container.spec["ports"]}
                assert probe["httpGet"]["port"] in own, container.name
