"""What is read of containerd's settings, and which of them are wrong."""

import json
from pathlib import Path

import pytest

from heliograph_indexer.adapters.containerd_config import read_settings
from heliograph_indexer.domain.runtime_settings import (
    ContainerdVersion,
    RuntimeSettings,
    examine_settings,
    examine_sharing,
    from_status,
)
from heliograph_indexer.errors import ConfigUnreadable

OURS = "/etc/containerd/certs.d"
V1, V2 = ContainerdVersion("1.7.24~ds1"), ContainerdVersion("2.1.9+unknown")


def problems(
    config_path: str, version: ContainerdVersion, ours: str = OURS, *, pulls_locally: bool = False
) -> list[str]:
    settings = RuntimeSettings("somewhere", config_path, discards_layers=False, pulls_locally=pulls_locally)
    found = examine_settings(settings, version, ours)
    return [finding.problem for finding in found]


@pytest.mark.parametrize("config_path", [OURS, f"{OURS}/", f"{OURS}:"])
def test_a_config_path_that_is_ours_is_fine(config_path: str) -> None:
    assert problems(config_path, V1) == []


@pytest.mark.parametrize("config_path", [f"/other:{OURS}", f"{OURS}:/other"])
def test_folders_that_the_configurator_does_not_know_are_named(config_path: str) -> None:
    (problem,) = problems(config_path, V1)
    assert "other directories" in problem
    assert problems(config_path, V1, config_path) == []


@pytest.mark.parametrize(
    ("config_path", "version", "word"),
    [
        ("", V1, "not set"),
        ("", V2, "not set"),
        ("/other", V1, "elsewhere"),
        ("/other:/another", V2, "elsewhere"),
        (f"{OURS}:/other", V2, "several"),
        (f"{OURS}:/other", ContainerdVersion("2.4.2"), "several"),
        (ContainerdVersion("2.4.2").default_config_path, ContainerdVersion("2.4.2"), "several"),
    ],
)
def test_a_wrong_config_path_is_a_finding(config_path: str, version: ContainerdVersion, word: str) -> None:
    (problem,) = problems(config_path, version)
    assert word in problem


def test_several_folders_are_fine_without_the_transfer_service() -> None:
    both = f"{OURS}:/other"
    assert problems(both, ContainerdVersion("2.0.5"), both) == []
    assert problems(both, ContainerdVersion("2.4.2"), both, pulls_locally=True) == []


@pytest.mark.parametrize(
    ("line", "pulls_locally"),
    [
        ("use_local_image_pull = true", True),
        ("max_concurrent_downloads = 5", True),
        ("max_concurrent_downloads = 3", False),
        ("registry.mirrors = { a = { endpoint = ['b'] } }", True),
        ("registry.config_path = '/x'", False),
    ],
)
def test_some_settings_keep_2_from_the_transfer_service(
    tmp_path: Path, line: str, *, pulls_locally: bool
) -> None:
    main = tmp_path / "config.toml"
    main.write_text(f"version = 3\n[plugins.'io.containerd.cri.v1.images']\n{line}\n")
    assert read_settings(main, V2).pulls_locally is pulls_locally


@pytest.mark.parametrize("text", ["", "v2", "2", "unknown.version"])
def test_a_version_that_cannot_be_read_is_taken_for_an_old_one(text: str) -> None:
    assert ContainerdVersion(text).numbers == (0, 0)


@pytest.mark.parametrize("config", ["", "[]", "nonsense", "{}", '{"registry": 3}', '{"registry": {}}'])
def test_a_status_without_the_settings_tells_none(config: str) -> None:
    assert from_status(config) is None


def test_a_status_tells_two_of_them() -> None:
    config = {"registry": {"configPath": "/x"}, "containerd": {"discardUnpackedLayers": True}}
    assert from_status(json.dumps(config)) == RuntimeSettings("the CRI's status", "/x", discards_layers=True)


def test_only_isolated_content_is_a_finding() -> None:
    assert [finding.severity for finding in examine_sharing("isolated")] == ["warning"]
    assert list(examine_sharing("shared")) == list(examine_sharing("")) == []


def test_a_config_of_version_3_is_read_with_its_imports(tmp_path: Path) -> None:
    main = tmp_path / "config.toml"
    main.write_text(
        'version = 3\nimports = ["conf.d/*.toml", "/nowhere/*.toml"]\n'
        "[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '/below'\n"
        "[plugins.'io.containerd.cri.v1.images']\n  discard_unpacked_layers = true\n"
    )
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "mirror.toml").write_text(
        f"version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '{OURS}'\n"
    )
    assert read_settings(main, V2) == RuntimeSettings(
        str(main), OURS, discards_layers=True, pulls_locally=True
    )


def test_a_config_of_version_2_is_read_for_containerd_2(tmp_path: Path) -> None:
    main = tmp_path / "config.toml"
    main.write_text(
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/x"\n'
        '[plugins."io.containerd.grpc.v1.cri".containerd]\n  discard_unpacked_layers = true\n'
    )
    assert read_settings(main, V2) == RuntimeSettings(str(main), "/x", discards_layers=True)


def test_what_is_not_named_has_the_versions_default(tmp_path: Path) -> None:
    main = tmp_path / "config.toml"
    main.write_text("version = 3\nimports = ['config.toml']\n")
    assert read_settings(main, V2).config_path == ""
    assert OURS in read_settings(main, ContainerdVersion("2.2.1")).config_path


@pytest.mark.parametrize("text", [b"[plugins\npassword = 's3cret'", b"\xff", b"#" * (2 << 20)])
def test_an_unreadable_config_is_not_quoted(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "config.toml").write_bytes(text)
    with pytest.raises(ConfigUnreadable) as raised:
        read_settings(tmp_path / "config.toml", V2)
    assert "s3cret" not in str(raised.value)


def test_a_config_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigUnreadable, match="No such file"):
        read_settings(tmp_path / "config.toml", V2)


def test_imports_without_end_are_cut(tmp_path: Path) -> None:
    for number in range(70):
        (tmp_path / f"{number}.toml").write_text(f"imports = ['{number + 1}.toml']\n")
    with pytest.raises(ConfigUnreadable, match="more than 64"):
        read_settings(tmp_path / "0.toml", V2)
