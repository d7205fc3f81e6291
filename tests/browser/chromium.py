"""Debian's Chromium, driven by Playwright: pages that remember every fault they had, and what axe-core says of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, FloatRect, Page, async_playwright

from tests.servers import tool

PROGRAMS = ("chromium-headless-shell", "chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
)  # fmt: skip
DESKTOP, PHONE = (1280, 900), (360, 740)
MOST_SHOWN = 1500  # pixels of a page that a picture shows
SERIOUS = frozenset({"serious", "critical"})
KEPT = os.environ.get("SCREENSHOTS", "")
"""A folder that screenshots are kept in: `SCREENSHOTS=docs/screenshots make test`."""


@dataclass
class Visitor:
    """One window on the console."""

    page: Page
    context: BrowserContext
    folder: Path
    faults: list[str] = field(default_factory=list)

    async def shoot(self, name: str) -> None:
        """Take a picture of the page, as far down as people look first."""
        path = self.folder / f"{name}.png"
        size = self.page.viewport_size or {"width": 0, "height": 0}
        high = await self.page.evaluate("document.documentElement.scrollHeight")
        shown = FloatRect(x=0, y=0, width=size["width"], height=min(high, MOST_SHOWN))
        await self.page.screenshot(path=path, full_page=True, animations="disabled", clip=shown)
        if KEPT:
            shutil.copy(path, KEPT)

    async def barriers(self) -> list[str]:
        """What keeps people out who use a keyboard, a screen reader or little colour: axe's serious findings."""
        axe = resources.files("axe_playwright_python") / "axe.min.js"
        await self.page.evaluate(axe.read_text(encoding="utf-8"))  # unlike a script tag, no policy forbids this
        found: dict[str, Any] = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']} ({one['impact']}): {node['html'][:200]}"
            for one in found["violations"]
            if one["impact"] in SERIOUS
            for node in one["nodes"]
        ]

    async def spills(self) -> int:
        """By how many pixels the page is wider than the window."""
        wide: int = await self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return wide


def program_of_browser() -> str | None:
    """The path of a browser, if there is one."""
    return next((found for name in PROGRAMS if (found := tool(name))), None)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running browser."""
    program = program_of_browser()
    assert program is not None, f"no browser; tools/fetch brings {PROGRAMS[0]}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visit(
    browser: Browser,
    folder: Path,
    size: Sequence[int] = DESKTOP,
    *,
    dark: bool = False,
    script: bool = True,
    **more: Any,
) -> AsyncIterator[Visitor]:
    """A window of its own, with its own cookies."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
        reduced_motion="reduce",
        **more,
    )
    page = await context.new_page()
    visitor = Visitor(page, context, folder)

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error":
            visitor.faults.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: visitor.faults.append(str(error)))
    page.set_default_timeout(60_000)
    try:
        yield visitor
    finally:
        await context.close()
