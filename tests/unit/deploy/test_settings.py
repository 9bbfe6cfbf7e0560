"""What the manifests tell the services is what the services understand, and the two ends of it agree."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from heliograph_shared.settings import PREFIX, load
from tests.unit.deploy.manifests import (
    MIXES,
    SERVICES,
    Container,
    Manifest,
    containers,
    default,
    mixed,
    named_port,
    of_kind,
    pods,
)

DOWNWARD = {"spec.nodeName": "node-1", "status.hostIP": "10.0.0.7", "metadata.name": "heliograph-nats-0"}
REFERENCE = re.compile(r"\$\(([A-Z_]+)\)")


def given(container: Container, host_ip: str = "10.0.0.7") -> dict[str, str]:
    """The environment as the kubelet would make it on one node."""
    known = {**DOWNWARD, "status.hostIP": host_ip}
    environment: dict[str, str] = {}
    for entry in container.spec.get("env", []):
        if "value" in entry:
            text = REFERENCE.sub(lambda match: environment.get(match[1], match[0]), entry["value"])
        else:
            text = known.get(entry["valueFrom"]["fieldRef"]["fieldPath"], "")
        environment[entry["name"]] = text
    return environment


def settings(service: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The service's settings in that environment; a value it does not accept ends the test."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module(f"heliograph_{service}.settings")
    return load(module.Settings, f"heliograph-{service}", [])


every_mix = pytest.mark.parametrize("mix", MIXES, ids="+".join)


def deployed(manifests: list[Manifest]) -> dict[str, Container]:
    return {name: found for name, found in containers(manifests).items() if name in SERVICES}


@every_mix
def test_every_variable_is_a_setting_of_its_service(mix: tuple[str, ...]) -> None:
    for service, container in deployed(mixed(*mix)).items():
        module = importlib.import_module(f"heliograph_{service}.settings")
        known = {f"{PREFIX}{field}".upper() for field in module.Settings.model_fields}

        named = {entry["name"] for entry in container.spec["env"]}
        assert {name for name in named if name.startswith(PREFIX)} <= known, service


@every_mix
def test_every_value_is_accepted(mix: tuple[str, ...]) -> None:
    host_ip = "fd00::7" if "ipv6" in mix else "10.0.0.7"
    for service, container in deployed(mixed(*mix)).items():
        environment = given(container, host_ip)
        assert not any(map(REFERENCE.search, environment.values())), "used before it is defined"
        with pytest.MonkeyPatch.context() as monkeypatch:
            settings(service, environment, monkeypatch)


def test_no_variable_of_a_kubernetes_service_is_taken_for_a_setting() -> None:
    assert all(pod["enableServiceLinks"] is False for pod in pods(default()).values())


@pytest.mark.parametrize(
    ("mix", "host_ip", "scheme", "reached"),
    [
        (("default",), "10.0.0.7", "http", "10.0.0.7:5000"),
        (("default", "ipv6"), "fd00::7", "http", "[fd00::7]:5000"),
        (("default", "tls", "ipv6", "basic-auth"), "fd00::7", "https", "[fd00::7]:5000"),
        (("default", "ipv6", "tls", "external-nats"), "fd00::7", "https", "[fd00::7]:5000"),
        (("k3s", "tls", "basic-auth"), "10.0.0.7", "https", "10.0.0.7:5000"),
    ],
)
def test_a_nodes_registry_is_where_peers_and_containerd_are_sent(
    mix: tuple[str, ...], host_ip: str, scheme: str, reached: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = deployed(mixed(*mix))
    environment = given(services["indexer"], host_ip)

    settings("indexer", environment, monkeypatch)
    assert environment["HELIOGRAPH_ADVERTISE"] == reached
    mirror = given(services["configurator"], host_ip)["HELIOGRAPH_MIRROR_TARGETS"]
    assert mirror == f"{scheme}://{reached}"

    registry = services["registry"]
    host_ports = {
        port["containerPort"]: port["hostPort"] for port in registry.spec["ports"] if "hostPort" in port
    }
    listen = settings("registry", given(registry, host_ip), monkeypatch).registry_listen
    assert host_ports == {listen.port: 5000}


@pytest.mark.parametrize("service", SERVICES)
def test_probes_ask_the_admin_port(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    container = deployed(default())[service]
    known = settings(service, given(container), monkeypatch)
    port = known.admin_listen.port

    probes = {kind: container.spec[kind] for kind in container.spec if kind.endswith("Probe")}
    asked = {
        kind: (named_port(container, probe["httpGet"]["port"]), probe["httpGet"]["path"])
        for kind, probe in probes.items()
    }
    wanted = {"livenessProbe": (port, "/livez"), "readinessProbe": (port, "/readyz")}
    if service in {"configurator", "indexer"}:
        del wanted["readinessProbe"]  # docs/adr/0008: an outage of the bus must not make nodes unready
    assert asked == wanted


@pytest.mark.parametrize("service", ["configurator", "indexer"])
def test_a_node_asks_its_own_registry_whether_it_is_ready(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = deployed(default())
    port = settings("registry", given(services["registry"]), monkeypatch).admin_listen.port
    asked = given(services[service])["HELIOGRAPH_REGISTRY_READY_URL"]
    assert asked == f"http://127.0.0.1:{port}/readyz"


@every_mix
def test_files_that_are_named_are_mounted(mix: tuple[str, ...]) -> None:
    """Each by a key of its Secret, where the Secret is ours."""
    for container in deployed(mixed(*mix)).values():
        volumes = {volume["name"]: volume for volume in container.pod["volumes"]}
        mounts = {
            mount["mountPath"]: volumes[mount["name"]] for mount in container.spec.get("volumeMounts", [])
        }
        for name, value in container.environment.items():
            if name.endswith("_FILE"):
                folder, _, key = value.rpartition("/")
                secret = of_kind("Secret", mixed(*mix)).get(mounts[folder]["secret"]["secretName"])
                assert secret is None or key in secret["data"]


def test_the_registry_finds_every_router_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    services, router = deployed(default()), of_kind("Service", default())["heliograph-router"]["spec"]
    listen = settings("router", given(services["router"]), monkeypatch).router_listen
    (port,) = router["ports"]

    assert router["clusterIP"] == "None", "a cluster IP would pin a registry to one replica"
    assert named_port(services["router"], port["targetPort"]) == port["port"] == listen.port
    target = given(services["registry"])["HELIOGRAPH_ROUTER_TARGET"]
    assert target == f"dns:///heliograph-router:{port['port']}"


@pytest.mark.parametrize("service", ["indexer", "router"])
@pytest.mark.parametrize(("mix", "scheme"), [(("default",), "nats"), (("default", "tls"), "tls")])
def test_the_bus_is_found_by_name(mix: tuple[str, ...], scheme: str, service: str) -> None:
    everyone, bus = containers(mixed(*mix)), of_kind("Service", mixed(*mix))["heliograph-nats"]["spec"]
    (port,) = bus["ports"]

    assert named_port(everyone["nats"], port["targetPort"]) == port["port"]
    assert given(everyone[service])["HELIOGRAPH_NATS_URL"] == f"{scheme}://heliograph-nats:{port['port']}"


def test_paths_lie_in_what_is_mounted() -> None:
    services = deployed(default())
    paths = {
        "indexer": ("CONTAINERD_SOCKET", "CONTAINERD_CONFIG_PATH", "CONTENT_PATH", "STATE_PATH"),
        "registry": ("CONTENT_PATH", "STATE_PATH"),
        "configurator": ("REGISTRY_CONFIG_PATH",),
    }
    for service, names in paths.items():
        mounts = [Path(mount["mountPath"]) for mount in services[service].spec["volumeMounts"]]
        for name in names:
            path = Path(services[service].environment[PREFIX + name])
            assert any(path.is_relative_to(mount) for mount in mounts), (service, name)


def test_indexer_and_registry_share_the_state_file() -> None:
    services = deployed(default())
    state = {
        service: services[service].environment["HELIOGRAPH_STATE_PATH"] for service in ("indexer", "registry")
    }
    assert state["indexer"] == state["registry"]
    mounts = {
        service: next(
            mount for mount in services[service].spec["volumeMounts"] if mount["name"] == "state"
        ).get("readOnly", False)
        for service in state
    }
    assert mounts == {"indexer": False, "registry": True}
