"""Every setting is a variable and a flag; an invalid value is refused with the variable's name."""

from pathlib import Path

import pytest

from heliograph_indexer.settings import Settings
from heliograph_shared.settings import load

ENVIRONMENT = {
    "HELIOGRAPH_NODE_NAME": "worker-1",
    "HELIOGRAPH_NATS_URL": "nats://a:4222,nats://b:4222",
    "HELIOGRAPH_CONTENT_STORE": "oci-layout",
    "HELIOGRAPH_CONTAINERD_SOCKET": "/tmp/ctd.sock",
    "HELIOGRAPH_CONTAINERD_NAMESPACE": "moby",
    "HELIOGRAPH_CONTENT_PATH": "/tmp/layout",
    "HELIOGRAPH_STATE_PATH": "/tmp/node.json",
    "HELIOGRAPH_ADVERTISE": "10.0.0.1:5000, [fd00::1]:5000",
    "HELIOGRAPH_ZONE": "zone-a",
    "HELIOGRAPH_HEARTBEAT_S": "1",
    "HELIOGRAPH_REGISTRY_READY_URL": "http://127.0.0.1:9090/readyz",
    "HELIOGRAPH_MIRRORED_REGISTRIES": "reg.test,https://other.test",
    "HELIOGRAPH_REGISTRY_FILTERS": "^reg.test/secret/",
    "HELIOGRAPH_REGISTRY_CONFIG_PATH": "/tmp/certs.d",
    "HELIOGRAPH_CONTAINERD_CONFIG_PATH": "/tmp/config.toml",
    "HELIOGRAPH_ADMIN_LISTEN": "127.0.0.1:9999",
}


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


def test_the_defaults() -> None:
    settings = load(Settings, "heliograph-indexer", [])
    assert settings.nats_url == ("nats://127.0.0.1:4222",)
    assert settings.content_store == "containerd"
    assert settings.containerd_socket == Path("/run/containerd/containerd.sock")
    assert settings.containerd_namespace == "k8s.io"
    assert settings.content_path is None
    assert settings.state_path == Path("/run/heliograph/node.json")
    assert (settings.advertise, settings.zone, settings.registry_ready_url) == ((), "", "")
    assert settings.heartbeat_s == 10
    assert str(settings.admin_listen) == ":9091"


def test_every_variable_is_read_and_every_one_is_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = [
        part
        for name, value in ENVIRONMENT.items()
        for part in ("--" + name.removeprefix("HELIOGRAPH_").lower().replace("_", "-"), value)
    ]
    from_flags = load(Settings, "heliograph-indexer", flags)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert load(Settings, "heliograph-indexer", []) == from_flags
    assert from_flags.advertise == ("10.0.0.1:5000", "[fd00::1]:5000")
    assert from_flags.nats_url == ("nats://a:4222", "nats://b:4222")


@pytest.mark.parametrize("name", ["CONTENT_PATH", "REGISTRY_READY_URL", "ADVERTISE", "ZONE"])
def test_an_empty_variable_is_an_absent_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"HELIOGRAPH_{name}", "")
    assert load(Settings, "heliograph-indexer", []) == load(Settings, "heliograph-indexer", [])
    assert not getattr(load(Settings, "heliograph-indexer", []), name.lower())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONTENT_STORE", "docker"),
        ("CONTENT_STORE", "oci-layout"),
        ("CONTAINERD_NAMESPACE", 'k8s.io",x'),
        ("NATS_URL", "http://127.0.0.1:4222"),
        ("NATS_URL", "nats://127.0.0.1:port"),
        ("NATS_URL", ""),
        ("ADVERTISE", "0.0.0.0:5000"),
        ("ADVERTISE", "[::]:5000"),
        ("ADVERTISE", ":5000"),
        ("ADVERTISE", "host"),
        ("ADVERTISE", "host:0"),
        ("ADVERTISE", ",".join(f"10.0.0.{n}:5000" for n in range(17))),
        ("HEARTBEAT_S", "0"),
        ("HEARTBEAT_S", "soon"),
        ("REGISTRY_READY_URL", "127.0.0.1:9090/readyz"),
        ("REGISTRY_READY_URL", "file:///etc/passwd"),
        ("REGISTRY_READY_URL", "http://127.0.0.1:port/"),
        ("ADMIN_LISTEN", "9091"),
        ("ZONE", "z" * 254),
    ],
)
def test_an_invalid_value_is_refused_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(f"HELIOGRAPH_{name}", value)
    with pytest.raises(SystemExit) as stopped:
        load(Settings, "heliograph-indexer", [])
    assert stopped.value.code == 2
    blamed = "CONTENT_PATH" if value == "oci-layout" else name
    assert f"HELIOGRAPH_{blamed} " in capsys.readouterr().err
