"""Who may touch what on a node, and that nobody may ask the Kubernetes API for anything."""

import pytest

from tests.unit.deploy.manifests import (
    MIXES,
    Container,
    Manifest,
    containers,
    default,
    mixed,
    of_kind,
    pods,
)

CONTENT = "/var/lib/containerd/io.containerd.content.v1.content"
CAPABILITIES_NONE = {"drop": ["ALL"]}

every_mix = pytest.mark.parametrize("mix", MIXES, ids="+".join)


def context(container: Container) -> Manifest:
    merged: Manifest = {**container.pod.get("securityContext", {}), **container.spec["securityContext"]}
    return merged


def test_each_container_has_its_own_part_of_the_node_and_no_other() -> None:
    mounted = {name: container.host_paths() for name, container in containers(default()).items()}

    assert mounted == {
        "configurator": {("/etc/containerd/certs.d", "rw")},
        "indexer": {("/run/containerd", "ro"), ("/etc/containerd", "ro"), (CONTENT, "ro")},
        "registry": {(CONTENT, "ro")},
        "router": set(),
        "nats": set(),
    }


@every_mix
def test_no_mix_gives_a_container_more_of_the_node(mix: tuple[str, ...]) -> None:
    """Elsewhere perhaps, but as many folders, and only the configurator writes to one."""
    for name, container in containers(mixed(*mix)).items():
        kinds = sorted(kind for _, kind in container.host_paths())
        assert kinds == {"configurator": ["rw"], "indexer": ["ro"] * 3, "registry": ["ro"]}.get(name, [])


@every_mix
def test_the_process_with_the_open_port_has_no_socket_and_writes_only_to_its_own_spool(
    mix: tuple[str, ...],
) -> None:
    everyone = containers(mixed(*mix))
    exposed = {
        name: port["hostPort"]
        for name, container in everyone.items()
        for port in container.spec.get("ports", [])
        if "hostPort" in port
    }
    assert exposed == {"registry": 5000}
    mounts = everyone["registry"].spec["volumeMounts"]
    assert [mount["name"] for mount in mounts if not mount.get("readOnly")] == ["spool"]
    volumes = pods(mixed(*mix))["heliograph-node"]["volumes"]
    spool = next(volume for volume in volumes if volume["name"] == "spool")
    assert spool == {"name": "spool", "emptyDir": {"sizeLimit": "5Gi"}}
    assert not any("containerd.sock" in str(value) for value in everyone["registry"].environment.values())


@every_mix
def test_nobody_has_rights_in_the_cluster(mix: tuple[str, ...]) -> None:
    rights = {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
    assert not rights & {manifest["kind"] for manifest in mixed(*mix)}


@every_mix
def test_no_token_of_a_service_account_is_mounted(mix: tuple[str, ...]) -> None:
    accounts = of_kind("ServiceAccount", mixed(*mix))
    assert not any(account["automountServiceAccountToken"] for account in accounts.values())

    for pod in pods(mixed(*mix)).values():
        assert pod["automountServiceAccountToken"] is False
        assert pod["serviceAccountName"] in accounts
        for volume in pod.get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                assert source.keys() <= {"configMap", "secret"}


@every_mix
def test_no_container_has_a_capability_or_can_gain_one_or_writes_to_its_image(mix: tuple[str, ...]) -> None:
    for name, container in containers(mixed(*mix)).items():
        own = container.spec["securityContext"]
        assert own["capabilities"] == CAPABILITIES_NONE, name
        assert own["readOnlyRootFilesystem"] is True, name
        assert own["allowPrivilegeEscalation"] is False, name
        assert not own.get("privileged", False), name


@every_mix
def test_only_the_owners_of_roots_files_run_as_root(mix: tuple[str, ...]) -> None:
    root = set()
    for name, container in containers(mixed(*mix)).items():
        if context(container)["runAsUser"] == 0:
            root.add(name)
        else:
            assert context(container)["runAsNonRoot"] is True, name
    assert root == {"configurator", "indexer"}


@every_mix
def test_no_pod_shares_the_nodes_namespaces(mix: tuple[str, ...]) -> None:
    for pod in pods(mixed(*mix)).values():
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


@every_mix
def test_pods_that_are_not_of_a_node_need_nothing_that_pod_security_restricts(mix: tuple[str, ...]) -> None:
    for name, pod in pods(mixed(*mix)).items():
        if name == "heliograph-node":
            continue
        assert pod["securityContext"]["runAsNonRoot"] is True
        for volume in pod.get("volumes", []):
            assert {"configMap", "emptyDir", "projected", "secret"} & volume.keys()


@every_mix
def test_passwords_and_keys_come_from_files_alone(mix: tuple[str, ...]) -> None:
    for container in containers(mixed(*mix)).values():
        assert "envFrom" not in container.spec
        for entry in container.spec.get("env", []):
            assert entry.get("valueFrom", {"fieldRef": ...}).keys() == {"fieldRef"}
            assert "@" not in entry.get("value", ""), "a URL with a password"
        for mount in container.spec.get("volumeMounts", []):
            if mount["mountPath"].startswith("/etc/heliograph"):
                assert mount["readOnly"] is True


@every_mix
def test_admission_lets_the_pods_in(mix: tuple[str, ...]) -> None:
    labels = of_kind("Namespace", mixed(*mix))["heliograph"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"

    quotas = of_kind("ResourceQuota", mixed(*mix))["heliograph-critical-pods"]["spec"]
    covered = quotas["scopeSelector"]["matchExpressions"][0]["values"]
    assert {pod["priorityClassName"] for pod in pods(mixed(*mix)).values()} <= set(covered)


@every_mix
def test_memory_is_asked_for_and_bounded(mix: tuple[str, ...]) -> None:
    for name, container in containers(mixed(*mix)).items():
        resources = container.spec["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"] == "128Mi", name
        assert "cpu" in resources["requests"], name
        assert "cpu" not in resources["limits"], "throttling would eat the time in which a miss is answered"


@every_mix
def test_the_nodes_pod_runs_everywhere_and_ends_gently(mix: tuple[str, ...]) -> None:
    daemon_set = of_kind("DaemonSet", mixed(*mix))["heliograph-node"]["spec"]
    pod = daemon_set["template"]["spec"]

    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["priorityClassName"] == "system-node-critical"
    assert pod["terminationGracePeriodSeconds"] == 60
    at_once = "100%" if "cleanup" in mix else "10%"
    assert daemon_set["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": at_once}
