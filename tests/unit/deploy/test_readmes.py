"""What the documents show to operators works: overlays render, commands do what is said, files are made."""

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deploy.manifests import (
    DEPLOY,
    KUBECTL,
    MIXES,
    ROOT,
    Manifest,
    containers,
    default,
    mixed,
    of_kind,
    pods,
    rendered_as_shown,
    shown_in,
    with_components,
)
from tests.unit.deploy.mounted import bus_user, contents
from tests.unit.deploy.test_settings import given
from tests.unit.deploy.validation import VERSIONS, validate

README = DEPLOY / "README.md"
COMPONENTS = DEPLOY / "components"
CONFIGURATOR = Path(sys.executable).with_name("heliograph-configurator")


def commands(heading: str) -> list[str]:
    """The commands shown first under a heading of deploy/README.md."""
    block = README.read_text().partition(f"## {heading}\n")[2].split("```\n")[1]
    return block.strip().splitlines()


def valid(manifests: list[Manifest]) -> list[Manifest]:
    for manifest in manifests:
        for version in VERSIONS:
            validate(manifest, version)
    return manifests


def test_the_overlay_shown_to_operators_changes_what_it_says(tmp_path: Path) -> None:
    own = containers(valid(rendered_as_shown(tmp_path, README)))

    assert own["indexer"].host_paths() - containers(default())["indexer"].host_paths() == {
        ("/run/other/containerd", "ro")
    }
    assert own["registry"].environment["HELIOGRAPH_WAIT_MS"] == "25000"
    assert given(own["indexer"], "fd00::7")["HELIOGRAPH_ADVERTISE"] == "[fd00::7]:5000"


def test_an_external_bus_is_asked_by_users_of_its_own(tmp_path: Path) -> None:
    users = {role: f"{role}:theirs\n" for role in ("indexer", "router")}
    own = valid(rendered_as_shown(tmp_path, COMPONENTS / "external-nats" / "README.md", files=users))

    assert "heliograph-nats" not in pods(own)
    assert not [found for found in own if "heliograph-nats" in found["metadata"].get("labels", {}).values()]
    for role in users:
        assert bus_user(own, role) == f"{role}:theirs"
        told = containers(own)[role].environment
        assert told["HELIOGRAPH_NATS_URL"] == "nats://nats.example.com:4222"
    assert len(of_kind("Secret", own)) == 2


def test_containerd_can_be_asked_for_a_certificate_too(tmp_path: Path) -> None:
    own = containers(valid(rendered_as_shown(tmp_path, COMPONENTS / "tls" / "README.md", 1)))
    assert own["registry"].environment["HELIOGRAPH_TLS_VERIFY_CLIENTS"] == "true"
    mounted = {mount["mountPath"] for mount in own["configurator"].spec["volumeMounts"]}
    for name in ("CERT", "KEY", "CA"):
        path = own["configurator"].environment[f"HELIOGRAPH_TLS_{name}_FILE"]
        assert path.rpartition("/")[0] in mounted


def test_the_certificates_that_are_shown_are_those_that_are_mounted() -> None:
    shown = list(yaml.safe_load_all(shown_in(COMPONENTS / "tls" / "README.md")))
    for resource in shown:
        validate(resource, VERSIONS[0])
    issued = {
        found["spec"]["secretName"]: found["spec"]
        for found in shown
        if found["kind"] == "Certificate" and not found["spec"].get("isCA")
    }
    mounted = {
        volume["secret"]["secretName"]
        for pod in pods(mixed("default", "tls")).values()
        for volume in pod["volumes"]
        if volume.get("secret", {}).get("secretName", "").endswith("-tls")
    }
    assert set(issued) == mounted
    for spec in issued.values():
        assert {"server auth", "client auth"} <= set(spec["usages"])

    asked_for = containers(mixed("default", "tls"))["registry"].environment["HELIOGRAPH_TLS_SERVER_NAME"]
    assert asked_for in issued["heliograph-registry-tls"]["dnsNames"]
    assert asked_for in issued["heliograph-router-tls"]["dnsNames"]
    services = of_kind("Service", default())
    for name in issued["heliograph-nats-tls"]["dnsNames"]:
        assert name.removeprefix("*.") in services


@pytest.mark.parametrize("mix", [*MIXES, ("k3s", "jaeger"), ("talos", "jaeger", "tls")], ids="+".join)
def test_the_uninstalls_first_command_turns_the_configurator(mix: tuple[str, ...], tmp_path: Path) -> None:
    """By the real kubectl, on whatever was applied; only that it works on a file, in place of a cluster."""
    first, second = commands("Uninstall")
    assert second == "kubectl delete -k deploy/overlays/default"
    applied, kubectl = tmp_path / "applied.json", tmp_path / "kubectl"
    applied.write_text(json.dumps(of_kind("DaemonSet", mixed(*without(mix, "cleanup")))["heliograph-node"]))
    kubectl.write_text(f"""#!/bin/sh
set -eu
echo "$1 $2 $3" >>{tmp_path}/calls
[ "$1" = patch ] || exit 0
shift 3
{KUBECTL} patch --local -f {applied} -o json "$@" >{tmp_path}/patched && mv {tmp_path}/patched {applied}
""")
    kubectl.chmod(0o755)
    environment = {**os.environ, "KUBECTL": str(kubectl)}
    subprocess.run(shlex.split(first), cwd=ROOT, env=environment, check=True, timeout=60)

    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == [*["patch daemonset heliograph-node"] * 2, "rollout status daemonset"]
    result = json.loads(applied.read_text())
    by_component = of_kind("DaemonSet", mixed(*without(mix, "cleanup"), "cleanup"))["heliograph-node"]
    assert in_order(result["spec"]) == in_order(by_component["spec"])
    (first_of_all,) = result["spec"]["template"]["spec"]["initContainers"]
    assert (first_of_all["name"], first_of_all["args"]) == ("configurator", ["cleanup"])
    assert not [key for key in first_of_all if key.endswith("Probe")], "Kubernetes refuses those here"


def in_order(spec: dict[str, Any]) -> dict[str, Any]:
    """Containers by name: of those that stay the order means nothing."""
    ordered = json.loads(json.dumps(spec))
    ordered["template"]["spec"]["containers"].sort(key=lambda container: container["name"])
    return dict(ordered)


def without(mix: tuple[str, ...], component: str) -> tuple[str, ...]:
    return tuple(name for name in mix if name != component)


@pytest.mark.parametrize("mix", [("default", "cleanup"), ("gke", "tls", "cleanup")], ids="+".join)
def test_what_the_uninstall_runs_restores_a_node(mix: tuple[str, ...], tmp_path: Path) -> None:
    """The real configurator, told what the manifests tell it, but for the node's folder and its secrets."""
    certs, ours = tmp_path / "certs.d", "server = 'https://reg.test'\n[host.'https://mirror.test']\n"
    (certs / "_default").mkdir(parents=True)
    (certs / "_default" / "hosts.toml").write_text(ours)
    container = containers(mixed(*mix))["configurator"]
    environment: dict[str, Any] = {
        **{name: value for name, value in given(container).items() if not name.endswith("_FILE")},
        "HELIOGRAPH_REGISTRY_CONFIG_PATH": str(certs),
    }
    for arguments, wanted in ((["apply"], "10.0.0.7:5000"), (container.spec["args"], ours)):
        done = subprocess.run(
            [CONFIGURATOR, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert wanted in (certs / "_default" / "hosts.toml").read_text()
    assert (certs / "_default" / "hosts.toml").read_text() == ours
    assert [path.name for path in certs.rglob("*")] == ["_default", "hosts.toml"]


def new_passwords(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DEPLOY / "new-passwords.sh", folder], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("more", [{}, {"namespace": "mirrors"}], ids=["namespace", "other-namespace"])
def test_new_passwords_take_the_place_of_the_public_ones(more: dict[str, str], tmp_path: Path) -> None:
    assert new_passwords(tmp_path).returncode == 0
    own = valid(with_components(tmp_path, "./passwords", "basic-auth", **more))

    secrets = of_kind("Secret", own)
    assert len(secrets) == len(of_kind("Secret", default())) + 1  # basic auth's
    texts = [text for secret in secrets.values() for text in contents(secret).values()]
    assert not any("public" in text for text in texts)
    assert len(set(texts)) == len(texts)
    used = {
        source["secret"]["name"]
        for source in pods(own)["heliograph-nats"]["volumes"][0]["projected"]["sources"]
        if "secret" in source
    }
    used |= {
        volume["secret"]["secretName"]
        for name in ("heliograph-node", "heliograph-router")
        for volume in pods(own)[name]["volumes"]
        if "secret" in volume
    }
    assert used == set(secrets)


def test_new_passwords_are_written_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    assert new_passwords(tmp_path).returncode == 0
    written = {path: path.read_text() for path in (tmp_path / "passwords").iterdir()}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in written)
    assert (tmp_path / "passwords" / ".gitignore").read_text() == "*\n"

    again = new_passwords(tmp_path)
    assert again.returncode == 1
    assert str(tmp_path / "passwords") in again.stderr
    assert {path: path.read_text() for path in written} == written
    assert new_passwords(tmp_path / "nowhere").returncode == 2


def test_the_public_passwords_are_called_public_where_they_are_applied() -> None:
    introduction = README.read_text().partition("\n## ")[0]
    assert re.search(r"\*\*[^*]*\bpasswords\b[^*]*\bpublic\b[^*]*\*\*", introduction)
    secrets = of_kind("Secret", default()).values()
    assert all("public-" in text for secret in secrets for text in contents(secret).values())


def test_every_component_is_in_the_list() -> None:
    listed = README.read_text()
    for component in COMPONENTS.iterdir():
        assert f"components/{component.name}" in listed
