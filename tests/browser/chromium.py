"""Debian's Chromium, headless, with its own background requests switched off."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page, async_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FONTS = Path(__file__).with_name("fonts.conf")
DESKTOP, PHONE = (1280, 900), (375, 812)

Scheme = Literal["light", "dark"]


@dataclass
class PageLog:
    """The hosts that a page requested from, and its errors, warnings and failed requests."""

    hosts: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("requestfailed", self._failed)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._logged)

    def _logged(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"{message.type}: {message.text}")

    def _failed(self, request: Any) -> None:
        if not request.url.endswith("/events"):  # a stream ends with its page
            self.problems.append(f"{request.url}: {request.failure}")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, env={"FONTCONFIG_FILE": str(FONTS)}
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def opened(
    browser: Browser,
    url: str,
    *,
    size: tuple[int, int] = DESKTOP,
    scheme: Scheme = "light",
    scripts: bool = True,
) -> AsyncIterator[tuple[Page, PageLog]]:
    """A page in a context of its own, and its log."""
    width, height = size
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=scripts
    )
    log = PageLog()
    try:
        page = await context.new_page()
        page.set_default_timeout(30_000)
        log.watch(page)
        await page.goto(url)
        yield page, log
    finally:
        await context.close()
