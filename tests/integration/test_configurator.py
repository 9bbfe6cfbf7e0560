"""The console script: commands, environment variables, exit codes, lines on standard error."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(sys.executable).with_name("heliograph-configurator")


def configurator(*arguments: str | Path, **environment: str | Path) -> subprocess.CompletedProcess[str]:
    ours = {f"HELIOGRAPH_{name.upper()}": str(value) for name, value in environment.items()}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}
    return subprocess.run(
        [SCRIPT, *arguments], env=inherited | ours, capture_output=True, text=True, timeout=60, check=False
    )


def log_lines(process: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.stderr.splitlines()]


def test_apply_and_cleanup_by_environment(tmp_path: Path) -> None:
    certs = tmp_path / "certs.d"
    settings: dict[str, str | Path] = {
        "registry_config_path": certs,
        "mirror_targets": "http://10.0.0.1:5000",
        "resolve_tags": "0",
    }
    for _ in range(2):
        applied = configurator("apply", **settings)
        assert applied.returncode == 0, applied.stderr
    document = tomllib.loads((certs / "_default/hosts.toml").read_text())
    assert document == {"host": {"http://10.0.0.1:5000": {"capabilities": ["pull"]}}}

    for _ in range(2):
        cleaned = configurator("cleanup", **settings)
        assert cleaned.returncode == 0, cleaned.stderr
    assert not certs.exists()


def test_flags_win_over_the_environment(tmp_path: Path) -> None:
    applied = configurator(
        "apply",
        "--registry-config-path",
        tmp_path,
        "--mirrored-registries=docker.io,http://reg.test:5000",
        "--resolve-tags=true",
        mirrored_registries="quay.io",
        resolve_tags="false",
    )
    assert applied.returncode == 0, applied.stderr
    assert {path.parent.name for path in tmp_path.glob("*/hosts.toml")} == {"docker.io", "reg.test:5000"}
    document = tomllib.loads((tmp_path / "docker.io/hosts.toml").read_text())
    assert document["host"] == {"http://127.0.0.1:5000": {"capabilities": ["pull", "resolve"]}}


@pytest.mark.parametrize("command", [(), ("look",), ("--registry-config-path=/x", "apply")])
def test_a_wrong_command_gets_the_usage(command: tuple[str, ...]) -> None:
    refused = configurator(*command)
    assert refused.returncode == 2
    assert refused.stderr.startswith("usage: heliograph-configurator {apply,cleanup,watch,doctor}")
    assert refused.stdout == ""


@pytest.mark.parametrize("arguments", [("--help",), ("apply", "--help"), ("cleanup", "-h")])
def test_help_is_printed(arguments: tuple[str, ...]) -> None:
    helped = configurator(*arguments)
    assert helped.returncode == 0
    assert helped.stdout.startswith("usage: heliograph-configurator")


def test_a_bad_setting_exits_with_2_and_one_line(tmp_path: Path) -> None:
    refused = configurator("apply", registry_config_path=tmp_path, mirror_targets="127.0.0.1:5000")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "HELIOGRAPH_MIRROR_TARGETS (--mirror-targets)" in line
    assert "not a mirror" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["apply", "cleanup"])
def test_an_unusable_path_exits_with_1_and_a_reason(tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("kept")
    refused = configurator(command, registry_config_path=tmp_path / "file")
    assert refused.returncode == 1
    (line,) = log_lines(refused)
    assert (line["level"], line["reason"]) == ("error", f"{tmp_path}/file: Not a directory")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_without_write_permission_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    certs = tmp_path / "certs.d"
    hosts = certs / "quay.io/hosts.toml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text('server = "https://quay.io"\n')
    script = Path(sys.executable).with_name("python")
    code = (
        "import os, sys\n"
        "from heliograph_configurator.__main__ import main\n"
        "os.setegid(65534), os.seteuid(65534)\n"
        "sys.argv[0] = 'heliograph-configurator'; main()\n"
    )
    refused = subprocess.run(
        [script, "-c", code, "apply", "--registry-config-path", certs, "--mirrored-registries=quay.io"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1, refused.stderr
    errors = [line for line in log_lines(refused) if line["level"] == "error"]
    assert [error["reason"] for error in errors] == [f"{certs}: Permission denied"]
    assert [path.name for path in certs.rglob("*")] == ["quay.io", "hosts.toml"]


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "quay.io").mkdir()
    (tmp_path / "quay.io/hosts.toml").write_text('server = "https://quay.io"\n[host\n')
    applied = configurator("apply", "--prepend-existing", registry_config_path=tmp_path)
    assert applied.returncode == 1
    (error,) = [line for line in log_lines(applied) if line["level"] == "error"]
    assert (error["file"], error["line"]) == ("quay.io/hosts.toml", 2)
    assert (tmp_path / "_default/hosts.toml").exists()
