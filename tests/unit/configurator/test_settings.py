"""Settings from flags and the environment, and those that are refused."""

from pathlib import Path

import pytest

from heliograph_configurator.domain.registry import UpstreamRegistry
from heliograph_configurator.settings import Settings
from heliograph_shared.settings import load


def loaded(*flags: str) -> Settings:
    return load(Settings, "heliograph-configurator apply", flags)


def test_by_default_all_registries_are_mirrored_by_this_node() -> None:
    settings = loaded()
    assert settings.registry_config_path == Path("/etc/containerd/certs.d")
    assert settings.mirror_targets == ("http://127.0.0.1:5000",)
    assert settings.registries is None
    assert settings.resolve_tags
    assert not settings.prepend_existing


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--resolve-tags", True),
        ("--no-resolve-tags", False),
        ("--resolve-tags=true", True),
        ("--resolve-tags=false", False),
    ],
)
def test_tags_are_resolved_or_not(flag: str, value: bool) -> None:  # noqa: FBT001
    assert loaded(flag).resolve_tags is value


def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_RESOLVE_TAGS", "false")
    monkeypatch.setenv("HELIOGRAPH_PREPEND_EXISTING", "true")
    monkeypatch.setenv("HELIOGRAPH_MIRROR_TARGETS", "http://[::1]:5000/, http://10.0.0.1:5000")
    settings = loaded("--no-prepend-existing")
    assert (settings.resolve_tags, settings.prepend_existing) == (False, False)
    assert settings.mirror_targets == ("http://[::1]:5000", "http://10.0.0.1:5000")


def test_registries_that_are_filtered_out_completely_are_not_mirrored() -> None:
    named = "--mirrored-registries=docker.io,quay.io,http://reg.test:5000"
    settings = loaded(named, r"--registry-filters=^docker\.io/,^quay\.io/secret/")
    assert settings.registries == (UpstreamRegistry("quay.io"), UpstreamRegistry("reg.test:5000", "http"))
    assert loaded("--mirrored-registries=quay.io", "--registry-filters=quay").registries == ()


@pytest.mark.parametrize(
    "flag",
    [
        "--mirror-targets=",
        "--mirror-targets=127.0.0.1:5000",
        "--mirror-targets=ftp://m",
        "--mirror-targets=http://",
        "--mirror-targets=http://m:0",
        "--mirror-targets=http://m:port",
        "--mirror-targets=http://m:5000?x=y",
        "--mirror-targets=http://[::1",
        "--mirrored-registries=quay.io/library",
        "--mirrored-registries=http://a.test,https://a.test",
        "--registry-filters=(",
        "--log-level=loud",
        "--additional-mirror-targets=cache.test",
        "--additional-mirror-targets=http://me:secret@cache.test",
        "--dial-timeout=200",
        "--dial-timeout=0s",
        "--dial-timeout=-1s",
        "--dial-timeout=soon",
        "--dial-timeout=99999999s",
        "--tls-key-file=/key.pem",
        "--registry-ready-url=127.0.0.1:9090",
        "--withdraw-after-s=0",
        "--admin-listen=9093",
    ],
)
def test_an_invalid_setting_is_refused_in_one_line(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        loaded(flag)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert flag.partition("=")[0] in line


@pytest.mark.parametrize("duration", ["200ms", "1.5s", "1m30s", ""])
def test_a_dial_timeout_is_a_duration(duration: str) -> None:
    assert loaded(f"--dial-timeout={duration}").dial_timeout == duration


def test_a_certificate_needs_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert loaded("--tls-cert-file=/c", "--tls-key-file=/k").tls_key_file == Path("/k")
    assert loaded("--tls-cert-file=", "--tls-key-file=", "--basic-auth-file=").basic_auth_file is None
    with pytest.raises(SystemExit):
        loaded("--tls-cert-file=/c")
    assert "--tls-key-file" in capsys.readouterr().err


def test_a_password_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        loaded("--mirror-targets=http://me:secret@m:5000")
    assert "secret" not in capsys.readouterr().err
