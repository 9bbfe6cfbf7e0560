"""Who may connect to whom, as the policies say it; that a cluster heeds them is its network plugin's part."""

import pytest
import yaml

from tests.unit.deploy.manifests import (
    DEPLOY,
    OVERLAYS,
    Container,
    Manifest,
    containers,
    default,
    mixed,
    named_port,
    of_kind,
    pods,
    shown_in,
)

ANYONE = "anyone"
MONITORING = "namespace monitoring"
BY_POD = {
    "heliograph-node": ("configurator", "indexer", "registry"),
    "heliograph-router": ("router",),
    "heliograph-nats": ("nats",),
}


def peers(rule: Manifest) -> set[str]:
    """Whom a rule lets in: names of pods, a namespace, or anyone."""
    found = set()
    for peer in rule.get("from", [{}]):
        if "namespaceSelector" in peer:
            assert "podSelector" not in peer
            labels = peer["namespaceSelector"]["matchLabels"]
            found.add(f"namespace {labels['kubernetes.io/metadata.name']}")
        elif "podSelector" in peer:
            selector = peer["podSelector"]
            found |= set(selector.get("matchLabels", {}).values())
            for expression in selector.get("matchExpressions", []):
                assert (expression["key"], expression["operator"]) == ("app.kubernetes.io/name", "In")
                found |= set(expression["values"])
        else:
            found.add(ANYONE)
    return found


def allowed(manifests: list[Manifest]) -> dict[int, set[str]]:
    """Who is let in to which port; of a pod that a policy selects, all others are closed."""
    everyone = containers(manifests)
    open_to: dict[int, set[str]] = {}
    for policy in of_kind("NetworkPolicy", manifests).values():
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        (pod,) = policy["spec"]["podSelector"]["matchLabels"].values()
        for rule in policy["spec"]["ingress"]:
            for port in rule["ports"]:
                number = port_of(pod, port["port"], everyone)
                open_to.setdefault(number, set()).update(peers(rule))
    return open_to


def port_of(pod: str, name: str, everyone: dict[str, Container]) -> int:
    (number,) = {
        named_port(everyone[container], name)
        for container in BY_POD[pod]
        if any(port["name"] == name for port in everyone[container].spec["ports"])
    }
    return number


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_port_is_open_to_those_who_need_it(overlay: str) -> None:
    assert allowed(mixed(overlay)) == {
        5000: {ANYONE},  # containerd is no pod, and comes from the node
        5001: {"heliograph-node"},
        4222: {"heliograph-node", "heliograph-router"},
        6222: {"heliograph-nats"},
        9090: {MONITORING},
        9091: {MONITORING},
        9092: {MONITORING},
        9093: {MONITORING},
    }


def test_every_pod_has_a_policy() -> None:
    selected = {
        name: policy["spec"]["podSelector"]["matchLabels"]
        for name, policy in of_kind("NetworkPolicy", default()).items()
    }
    assert selected == {name: {"app.kubernetes.io/name": name} for name in pods(default())}


def test_the_policy_goes_with_the_bus() -> None:
    names = set(of_kind("NetworkPolicy", mixed("default", "external-nats")))
    assert names == {"heliograph-node", "heliograph-router"}


def test_the_table_that_operators_read_names_every_port() -> None:
    table = (DEPLOY / "components" / "network-policy" / "README.md").read_text()
    numbers = {
        port["containerPort"]
        for container in containers(default()).values()
        for port in container.spec["ports"]
    }
    rows = [line for line in table.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert {int(number) for row in rows for number in row.split("|")[1].split(",")} == numbers


def test_the_example_opens_the_bus_to_a_reader() -> None:
    policy = yaml.safe_load(shown_in(DEPLOY / "components" / "network-policy" / "README.md"))
    assert policy["metadata"]["namespace"] == "heliograph"
    assert allowed([*default(), policy])[4222] == {"heliograph-node", "heliograph-router", "namespace audit"}
