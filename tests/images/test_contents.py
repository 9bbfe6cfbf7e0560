"""What an image contains, and what it must not contain."""

import importlib.metadata
import re
import stat
import tomllib
from pathlib import Path

import pytest

from tests.images.buildah_support import Image
from tests.unit.deploy.manifests import ROOT

MIB = 1 << 20
# Compressed size above the base: about a tenth more than measured when this was written.
LIMITS_BYTES = {"configurator": 10 * MIB, "indexer": 23 * MIB, "registry": 26 * MIB, "router": 24 * MIB}
TOOLS = {
    *("as", "cc", "curl", "g++", "gcc", "git", "ld", "make", "uv", "wget"),
    *("ensurepip", "hatchling", "pip", "pip3", "setuptools", "wheel"),
}
PROGRAMS = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "opt/heliograph/bin")


def site_packages(image: Image) -> Path:
    (found,) = image.root.glob("opt/heliograph/lib/python3.*/site-packages")
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(service: str) -> dict[str, str]:
    text = (ROOT / "services" / service / "requirements.lock").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ]+)", text, re.MULTILINE))


def version(member: str) -> str:
    table = tomllib.loads((ROOT / member / "pyproject.toml").read_text())
    return str(table["project"]["version"])


def test_exactly_the_locked_distributions_are_installed(image: Image) -> None:
    installed = {
        normal(found.name): found.version
        for found in importlib.metadata.distributions(path=[str(site_packages(image))])
    }
    own = {
        "heliograph-shared": version("shared"),
        f"heliograph-{image.service}": version(f"services/{image.service}"),
    }
    assert installed == locked(image.service) | own


def test_there_is_no_tool_to_build_or_download(image: Image) -> None:
    libraries = [*image.root.glob("usr/lib/python3*"), *image.root.glob("usr/local/lib/python3*/*-packages")]
    folders = [image.root / folder for folder in PROGRAMS] + libraries + [site_packages(image)]
    found = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}
    assert f"heliograph-{image.service}" in found
    assert "python3" in found
    assert not found & TOOLS
    assert not list(image.root.glob("usr/share/python-wheels/*"))


def test_the_services_program_is_the_only_one_in_the_venv(image: Image) -> None:
    programs = {path.name for path in (image.root / "opt/heliograph/bin").iterdir() if not path.is_symlink()}
    assert programs == {f"heliograph-{image.service}"}


@pytest.mark.parametrize(
    "folder",
    ["mnt", "root/.cache", "run", "src", "tmp", "var/cache/apt", "var/lib/apt/lists", "var/log", "var/tmp"],
)
def test_the_build_leaves_no_files_behind(image: Image, folder: str) -> None:
    assert [path for path in (image.root / folder).rglob("*") if path.is_file()] == []


def test_only_the_venv_and_bytecode_are_added_to_the_base(image: Image) -> None:
    for member in image.own_files:
        name = f"/{member.name}"
        allowed = (
            member.isdir()
            or name.startswith("/opt/heliograph/")
            or re.fullmatch(r"/usr/lib/python3[^ ]*/__pycache__/[^/]+\.pyc", name)
            or re.fullmatch(r"/(usr/lib/python3[.0-9]*|usr/share|usr/local/lib/[^ ]*)/\.wh\.[^/]+", name)
            or (member.size == 0 and name in {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
        )
        assert allowed, name


def test_only_root_may_change_the_files(image: Image) -> None:
    for member in image.own_files:
        assert (member.uid, member.gid) == (0, 0), member.name
        assert member.issym() or not member.mode & (stat.S_IWGRP | stat.S_IWOTH), member.name
        assert not member.mode & (stat.S_ISUID | stat.S_ISGID), member.name


def test_nothing_reveals_the_build_machine(image: Image, canary: str) -> None:
    revealing = [canary, str(ROOT), str(Path.home() / ".cache"), "/wheels/x86_64"]
    for name, content in image.contents():
        assert not [word for word in revealing if word.encode() in content], name
        if not name.endswith(".so"):  # OpenSSL's own libraries contain these words
            assert b"PRIVATE KEY-----" not in content, name
    assert not [word for word in revealing if word in str(image.config)]
    names = {entry.partition("=")[0] for entry in image.config["config"]["Env"]}
    assert names == {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}


def test_every_module_has_bytecode_that_is_not_checked_by_time_stamp(image: Image) -> None:
    for source in site_packages(image).rglob("*.py"):
        (compiled,) = (source.parent / "__pycache__").glob(f"{source.stem}.cpython-*.pyc")
        assert compiled.read_bytes()[4] == 1, compiled  # hash-based, never checked: PEP 552
    (asyncio,) = image.root.glob("usr/lib/python3.*/asyncio")
    assert list((asyncio / "__pycache__").glob("events.cpython-*.pyc"))


def test_an_image_has_the_oci_labels(image: Image) -> None:
    labels = image.config["config"]["Labels"]
    prefix = "org.opencontainers.image"
    assert labels[f"{prefix}.title"] == f"heliograph-{image.service}"
    assert labels[f"{prefix}.version"] == version(f"services/{image.service}")
    assert labels[f"{prefix}.licenses"] == "Apache-2.0"
    assert labels[f"{prefix}.source"].startswith("https://")
    assert re.fullmatch("[0-9a-f]{40}", labels[f"{prefix}.revision"])


def test_an_image_is_small(image: Image) -> None:
    base, own = (layer.stat().st_size for layer in image.layers)
    assert own < LIMITS_BYTES[image.service]
    assert base + own < 80 * MIB


def test_images_share_their_base(images: dict[str, Image]) -> None:
    assert len({image.layers[0].name for image in images.values()}) == 1
