"""The README is short, and what it and the pages with its former tables say is what the code has."""

import re
from pathlib import Path

from docs.reference.configuration import settings
from docs.reference.labels import values
from tests.support.machines import KNOWN
from tests.unit.deploy.validation import VERSIONS

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
SETTING = re.compile(r"^\| `HELIOGRAPH_(\w+)`<br>`--[\w-]+` \| ([^|]+) \|", re.MULTILINE)
REASON = re.compile(r"^\| `([a-z-]+)` \| [45]\d\d", re.MULTILINE)


def row(name: str) -> str:
    (found,) = re.findall(rf"^\| {name} \|([^|]*)\|", README, re.MULTILINE)
    return str(found)


def test_the_readme_has_at_most_ninety_lines() -> None:
    assert len(README.splitlines()) <= 90


def test_the_settings_page_lists_every_setting_with_the_services_that_have_it() -> None:
    rows = dict(SETTING.findall((ROOT / "docs" / "configuration.md").read_text()))
    assert set(rows) == {name.upper() for name in settings()}
    for name, whose in rows.items():
        services = set(settings()[name.lower()])
        assert set(whose.split(", ")) == services or whose == "all", name


def test_every_reason_is_explained_once() -> None:
    known = values("heliograph_registry_requests_total", "reason").partition(": ")[2].partition(";")[0]
    page = (ROOT / "docs" / "reasons.md").read_text()
    assert sorted(REASON.findall(page)) == sorted(re.findall(r"`([a-z-]+)`", known))


def test_the_versions_that_the_readme_names_are_those_that_are_tried() -> None:
    assert re.findall(r"\d+\.\d+", row("Kubernetes")) == list(VERSIONS)
    named = re.findall(r"\d+\.\d+", row("containerd"))
    assert len(named) == len(KNOWN)
    assert all(version.startswith(series) for version, series in zip(named, KNOWN, strict=True))
