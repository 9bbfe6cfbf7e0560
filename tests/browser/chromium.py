"""Debian's Chromium, headless, told to ask nobody anything by itself."""

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
class Seen:
    """What a page did that it should not have: other hosts that were asked, errors, broken answers."""

    asked: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("request", lambda request: self.asked.add(urlsplit(request.url).netloc))
        page.on("requestfailed", self._failed)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._said)

    def _said(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def _failed(self, request: Any) -> None:
        if not request.url.endswith("/events"):  # a stream ends with its page
            self.complaints.append(f"{request.url}: {request.failure}")


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
) -> AsyncIterator[tuple[Page, Seen]]:
    """A page of its own context, and what it did."""
    width, height = size
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=scripts
    )
    seen = Seen()
    try:
        page = await context.new_page()
        page.set_default_timeout(30_000)
        seen.watch(page)
        await page.goto(url)
        yield page, seen
    finally:
        await context.close()
