"""The debug page in a real browser, against a running system of three nodes."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.browser.chromium import DESKTOP, PHONE, PageLog, Scheme, opened
from tests.browser.findings import FINDINGS, UNCHECKED
from tests.browser.pulled_system import IMAGE, SECRET, Pulled
from tests.support.line import Line

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1 << 20
FAST = (1 << 31) - 1
PATHS = ["", f"/why?image={IMAGE}", "/pull-test", "/images"]


def debug(node_admin: str, path: str = "") -> str:
    return f"{node_admin}/debug/web{path}"


def assert_well_behaved(log: PageLog, pulled: Pulled) -> None:
    assert log.hosts <= pulled.allowed
    assert log.problems == []


@contextmanager
def slow_lines(pulled: Pulled, bytes_s: int) -> Iterator[None]:
    """Limit the bandwidth of the nodes that hold the image, so that a pull test takes a while."""
    lines = [Line(node.registry, node.port) for node in (pulled.first, pulled.second)]
    for line in lines:
        line.limit(bytes_s)
    try:
        yield
    finally:
        for line in lines:
            line.limit(FAST)


async def test_it_says_that_it_works_and_which_node_served_which_layer(
    browser: Browser, pulled: Pulled
) -> None:
    async with opened(browser, debug(pulled.second.admin)) as (page, log):
        verdict = page.locator(".verdict")
        await expect(verdict).to_have_attribute("data-code", "served")
        await expect(verdict).to_have_text(re.compile(r"^Yes: 2 peers.* all of the last 6 requests .* from "))
        for layer in pulled.image.layers:
            row = page.get_by_role("row").filter(has_text=layer.digest[7:19]).first
            await expect(row).to_contain_text("node-1")
        peers = page.get_by_role("group", name="Nodes and their leases")
        for name in ("node-1", "node-2", "node-3"):
            await expect(peers.get_by_role("rowheader", name=name)).to_be_visible()
        await expect(peers).to_contain_text("left")
        picture = page.get_by_role("img", name=re.compile("Traffic of node-2"))
        await expect(picture).to_contain_text("node-1")
        await page.get_by_text("The same as a table").click()
        await expect(page.locator("#traffic-rows")).to_contain_text("MiB")
        assert_well_behaved(log, pulled)


async def test_new_requests_appear_by_themselves_until_updates_are_paused(
    browser: Browser, pulled: Pulled
) -> None:
    async with opened(browser, debug(pulled.third.admin)) as (page, log):
        rows = page.locator("#request-rows")

        async def ask(tag: str) -> None:
            await page.request.get(f"{pulled.third.url}/v2/library/app/manifests/{tag}?ns=docker.io")

        await ask("live-1")
        await expect(rows).to_contain_text("live-1")
        await expect(rows).to_contain_text("404 not-found")
        pause = page.get_by_role("button", name="Pause updates")
        await pause.click()
        await expect(pause).to_have_attribute("aria-pressed", "true")
        async with opened(browser, page.url) as (other, _):
            await ask("live-2")
            await expect(other.locator("#request-rows")).to_contain_text("live-2")
        assert "live-2" not in await rows.inner_text()
        await pause.click()
        await expect(rows).to_contain_text("live-2")
        assert_well_behaved(log, pulled)


async def test_the_progress_of_a_pull_test_is_live(browser: Browser, pulled: Pulled) -> None:
    with slow_lines(pulled, 8 * MIB):
        await follow_pull_test(browser, pulled)


async def follow_pull_test(browser: Browser, pulled: Pulled) -> None:
    async with opened(browser, debug(pulled.third.admin)) as (page, log):
        await page.get_by_label("Pull test").fill(IMAGE)
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/debug/web/pull-test")
        await page.evaluate(
            """() => {
                window.shares = [];
                const rows = document.getElementById("pulled-parts");
                new MutationObserver(() => {
                    for (const bar of rows.querySelectorAll("progress")) window.shares.push(bar.position);
                }).observe(rows, {childList: true, subtree: true});
            }"""
        )
        await expect(page.get_by_role("button", name="Stop")).to_be_visible()
        outcome = page.locator(".outcome")
        await expect(outcome).to_have_class("outcome done", timeout=60_000)
        await expect(outcome).to_have_text(re.compile(r"^All 5 parts .* 25\.9 MiB in .* from node-"))
        await expect(page.get_by_role("button", name="Stop")).to_have_count(0)
        shares = await page.evaluate("() => window.shares")
        assert any(0.05 < share < 0.95 for share in shares)
        bars = page.get_by_role("progressbar")
        await expect(bars).to_have_count(5)
        for layer in pulled.image.layers:
            row = page.get_by_role("row").filter(has_text=layer.digest[7:19])
            await expect(row).to_contain_text(re.compile("node-[12]"))
            await expect(row).to_contain_text("100 %")
        await expect(page.locator("#announcement")).to_contain_text("All 5 parts")
        assert_well_behaved(log, pulled)


async def test_a_pull_test_can_be_stopped_by_keyboard_without_scripts(
    browser: Browser, pulled: Pulled
) -> None:
    unscripted = opened(browser, debug(pulled.third.admin, "/pull-test"), scripts=False)
    with slow_lines(pulled, MIB):
        async with unscripted as (page, log):
            await page.get_by_label("Image").fill(IMAGE)
            await page.keyboard.press("Enter")
            await expect(page.locator(".outcome")).to_have_class("outcome running")
            assert await page.locator("meta[http-equiv=refresh]").count() == 1
            await page.get_by_role("button", name="Stop").press("Enter")
            await expect(page.locator(".outcome")).to_have_class("outcome stopped", timeout=30_000)
            await expect(page.locator(".outcome")).to_contain_text("as requested")
            assert await page.locator("meta[http-equiv=refresh]").count() == 0
            assert_well_behaved(log, pulled)


@pytest.mark.parametrize(
    ("image", "code", "step", "words"),
    [
        (IMAGE, "cluster", "router-answers", "all 5 parts, requested first from node-"),
        (SECRET, "excluded", "image-excluded", "The expression secret of HELIOGRAPH_REGISTRY_FILTERS"),
        ("absent", "no-tag", "tag-nowhere", "upstream"),
        ("Not An Image", "", "", "not an image reference"),
    ],
)
async def test_why_explains_images_that_are_served_filtered_missing_and_invalid(
    browser: Browser, pulled: Pulled, image: str, code: str, step: str, words: str
) -> None:
    async with opened(browser, debug(pulled.third.admin, "/why")) as (page, log):
        await page.get_by_label("Image").fill(image)
        await page.keyboard.press("Enter")
        content = page.get_by_role("main")
        await expect(content).to_contain_text(words)
        if image == "Not An Image":
            await expect(page.get_by_role("alert")).to_be_visible()
            return
        await expect(content.locator(f".outcome[data-code={code}]")).to_be_visible()
        await expect(content.locator(f".steps [data-code={step}]")).to_be_visible()
        if image == IMAGE:
            held = page.get_by_role("group", name="Who holds each part").get_by_role("row")
            for layer in pulled.image.layers:
                await expect(held.filter(has_text=layer.digest[7:19])).to_contain_text("node-1, node-2")
        assert_well_behaved(log, pulled)


@pytest.mark.parametrize("path", PATHS)
async def test_it_reads_the_same_without_scripts(browser: Browser, pulled: Pulled, path: str) -> None:
    texts = []
    for scripts in (True, False):
        async with opened(browser, debug(pulled.second.admin, path), scripts=scripts) as (page, log):
            heading = page.get_by_role("heading", level=1)
            await expect(heading).to_be_visible()
            texts.append(sorted(await page.get_by_role("heading").all_inner_texts()))
            assert_well_behaved(log, pulled)
    assert texts[0] == texts[1]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
async def test_it_is_accessible_in_every_size_and_scheme(
    browser: Browser, pulled: Pulled, path: str, scheme: Scheme, size: tuple[int, int]
) -> None:
    async with opened(browser, debug(pulled.second.admin, path), scheme=scheme, size=size) as (page, log):
        results = await Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        assert await page.evaluate("document.documentElement.scrollWidth") == size[0]
        dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", dark)[:3]))
        assert (brightness < 200) == (scheme == "dark")
        assert_well_behaved(log, pulled)


async def test_findings_of_the_doctor_are_shown_with_their_remedy(browser: Browser, pulled: Pulled) -> None:
    async with opened(browser, debug(pulled.third.admin)) as (page, log):
        for finding in FINDINGS:
            item = page.get_by_role("listitem").filter(has_text=finding.problem)
            await expect(item).to_contain_text(finding.severity)
            await expect(item).to_contain_text(finding.seen.replace("`", ""))
            await expect(item).to_contain_text(finding.remedy.replace("`", ""))
        await expect(page.get_by_text(f"Not checked: {UNCHECKED.check}")).to_be_visible()
        results = await Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        assert_well_behaved(log, pulled)


async def test_everything_can_be_reached_by_keyboard(browser: Browser, pulled: Pulled) -> None:
    async with opened(browser, debug(pulled.second.admin)) as (page, _):
        reached: list[tuple[str, bool]] = []
        while len(reached) < 100:
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement === document.body"):
                break  # the end of the page
            reached.append(await _focused(page))
        names = [name for name, _ in reached]
        assert names[0] == "Skip to the content"
        for name in ("Overview", "Pause updates", "pull-image", "Start", "why-image", "Explain"):
            assert name in names
        assert "The same as a table" in names
        assert [name for name, outlined in reached if not outlined] == []


async def _focused(page: Page) -> tuple[str, bool]:
    """The name of the focused element, and whether its focus is visible."""
    name, style, width = await page.evaluate(
        """() => {
            const element = document.activeElement, style = getComputedStyle(element);
            const name = element.id || element.innerText.trim().split("\\n")[0];
            return [name, style.outlineStyle, style.outlineWidth];
        }"""
    )
    return {"pause": "Pause updates"}.get(name, name), style != "none" and width != "0px"
