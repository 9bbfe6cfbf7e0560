"""What the documentation points at is there: files, headings, settings and make's targets."""

import importlib
import os
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from heliograph_shared.settings import PREFIX, ServiceSettings

ROOT = Path(__file__).parents[3]
NOT_OURS = {"node_modules", "build", "dist"}
PAGES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("*.md")
    if not any(part in NOT_OURS or part.startswith(".") for part in path.relative_to(ROOT).parts[:-1])
)
SERVICES = ("configurator", "indexer", "registry", "router")
OF_DEVELOPERS = {"TEST_CACHE", "SOAK_S", "TRACE_PICTURE"}

of_every_page = pytest.mark.parametrize("page", PAGES, ids=str)


@cache
def tokens(page: Path) -> list[Token]:
    """The page as CommonMark with tables, inline parts after the blocks that they are in."""
    blocks = MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text())
    return [token for block in blocks for token in (block, *(block.children or ()))]


def targets(page: Path) -> Iterator[str]:
    for token in tokens(page):
        target = token.attrGet("src" if token.type == "image" else "href")
        if token.type in {"link_open", "image"} and isinstance(target, str):
            yield target


@cache
def anchors(page: Path) -> frozenset[str]:
    """As GitHub makes them of headings: lower case, without punctuation, one hyphen for each space."""
    seen: Counter[str] = Counter()
    found = set()
    parts = tokens(page)
    for token, following in pairwise(parts):
        if token.type == "heading_open":
            text = "".join(
                child.content for child in following.children or () if child.type in {"text", "code_inline"}
            )
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return frozenset(found)


def broken(page: Path, target: str) -> str:
    """What is wrong with a relative target, empty if nothing is."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return ""
    folder = ROOT / page.parent
    file = Path(os.path.normpath(folder / unquote(parts.path))) if parts.path else ROOT / page
    if not file.is_relative_to(ROOT) or not file.exists():
        return f"{target}: no such file"
    if parts.fragment and file.suffix == ".md" and parts.fragment not in anchors(file.relative_to(ROOT)):
        return f"{target}: no such heading"
    return ""


@of_every_page
def test_relative_links_lead_somewhere(page: Path) -> None:
    assert [problem for target in targets(page) if (problem := broken(page, target))] == []


def test_a_link_that_leads_nowhere_would_be_found() -> None:
    page = Path("README.md")
    assert broken(page, "CONTRIBUTING.md#setting-up") == ""
    assert broken(page, "CONTRIBUTING.md#setting-down") == "CONTRIBUTING.md#setting-down: no such heading"
    assert broken(page, "docs/nothing.md") == "docs/nothing.md: no such file"
    assert broken(page, "../elsewhere.md") == "../elsewhere.md: no such file"
    assert broken(page, "#two-commands") == ""
    assert broken(page, "docs/troubleshooting.md#at-3-am") == ""


@cache
def settings() -> frozenset[str]:
    """Names without their prefix, of services and of their doctors."""
    for service in SERVICES:
        package = importlib.import_module(f"heliograph_{service}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.name.endswith(("settings", "doctor")):
                importlib.import_module(module.name)
    models, found = [ServiceSettings], set[str]()
    while models:
        model = models.pop()
        found |= {field.upper() for field in model.model_fields}
        models += model.__subclasses__()
    return frozenset(found)


@of_every_page
def test_settings_that_are_named_exist(page: Path) -> None:
    named = set(re.findall(rf"\b{PREFIX.upper()}([A-Z0-9_]+)", (ROOT / page).read_text()))
    assert named - settings() - OF_DEVELOPERS == set()


@of_every_page
def test_targets_of_make_that_are_named_exist(page: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = (token.content for token in tokens(page) if token.type in {"code_inline", "fence", "code_block"})
    named = {target for text in shown for target in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)", text)}
    assert named <= known
