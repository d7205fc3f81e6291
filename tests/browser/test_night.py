"""A night on call in a real browser: an incident appears, is acknowledged, noted, healed, resolved and reviewed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.browser.chromium import PHONE, Visitor, chromium, visit
from tests.sandbox.started import Sandbox
from tests.servers import wait_until

PATIENCE_MS = 90_000
NAME = "Ana Ito"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    made = Sandbox(tmp_path / "sandbox", "--traffic", "4")
    made.start()
    try:
        wait_until(lambda: is_well(made), seconds=90, what="a sandbox in which all is well")
        yield made
    finally:
        made.end()


def is_well(sandbox: Sandbox) -> bool:
    status = httpx.get(f"{sandbox.state['console']}/api/v1/status", trust_env=False, timeout=10).json()
    return {probe["level"] for probe in status["probes"] if probe["enabled"]} == {"ok"} and not status["incidents"]


async def check(visitor: Visitor, name: str) -> None:
    """The page is fit to be used, and looked at."""
    assert await visitor.barriers() == [], name
    assert await visitor.spills() <= 0, name
    assert visitor.faults == [], name
    await visitor.shoot(name)


async def log_in(page: Page, token: str) -> None:
    await page.get_by_role("link", name="Log in to act").first.click()
    await page.get_by_label("Your name").fill(NAME)
    await page.get_by_label("Token of this run").fill(token)
    await page.get_by_role("button", name="Log in").click()


async def test_a_night_on_call(sandbox: Sandbox, tmp_path: Path) -> None:
    console = sandbox.state["console"]
    token = next(sandbox.folder.rglob("token")).read_text().strip()
    async with chromium() as browser, visit(browser, tmp_path) as desk, visit(browser, tmp_path, PHONE) as phone:
        page = desk.page
        await page.goto(console)
        await phone.page.goto(console)
        await expect(page.locator("#live")).to_have_text("live")
        await expect(page.locator("#sentence")).to_contain_text("All is well")
        await check(desk, "well")
        await page.evaluate("window.never = 'loaded again'")

        await asyncio.to_thread(sandbox.break_, "redis")
        card = page.locator("article[id^=incident-redis]")
        await expect(card).to_be_visible(timeout=PATIENCE_MS)
        await expect(phone.page.locator("article[id^=incident-redis]")).to_be_visible()
        await expect(page.locator("#sentence")).to_contain_text("Redis")
        assert await page.evaluate("window.never") == "loaded again"
        await check(desk, "incident")
        await check(phone, "incident-phone")

        await log_in(page, token)
        await expect(page.locator(".who")).to_contain_text(NAME)
        await page.get_by_text("Identified", exact=True).click()
        await page.get_by_label("What the cause is").fill("half a sentence, when the page")
        await log_in(phone.page, token)  # in bed, with the telephone
        await phone.page.get_by_role("button", name="Acknowledge").click()
        await expect(phone.page.locator(".clocks")).to_contain_text(f"Acknowledged by {NAME}")
        await expect(page.locator(".clocks")).to_contain_text(f"Acknowledged by {NAME}")
        await expect(page.locator(".timeline .ack")).to_contain_text(NAME)
        assert await page.get_by_label("What the cause is").input_value() == "half a sentence, when the page"
        await page.get_by_text("Note", exact=True).click()
        await page.get_by_label("What was seen or done").fill("Restarted Redis")
        await page.get_by_label("This was done about it").check()
        await page.get_by_role("button", name="Write the note").click()
        await expect(page.locator(".timeline .fix")).to_contain_text("Restarted Redis")
        await check(desk, "acknowledged")
        await expect(phone.page.locator(".timeline .fix")).to_contain_text(NAME, timeout=PATIENCE_MS)
        await phone.page.get_by_text("Note", exact=True).click()
        await phone.page.get_by_label("What was seen or done").fill("Its memory was full")
        await phone.page.get_by_role("button", name="Write the note").click()
        await expect(phone.page.locator(".timeline .note")).to_contain_text("Its memory was full")
        await check(phone, "acknowledged-phone")

        await asyncio.to_thread(sandbox.heal, "redis")
        await expect(page.locator("#card .status")).to_have_text("monitoring", timeout=PATIENCE_MS)
        await expect(page.locator("#card .status")).to_have_text("resolved", timeout=PATIENCE_MS)
        await expect(page.locator("#message-review")).to_contain_text("Restarted Redis")
        assert await page.evaluate("document.querySelectorAll('.anonymous').length") == 0
        await check(desk, "resolved")
        await expect(phone.page.locator("#card .status")).to_have_text("resolved")
        await expect(phone.page.locator("#message-review")).to_contain_text("Its memory was full")
        await check(phone, "resolved-phone")

        await page.goto(f"{console}/probes/redis")
        await expect(page.locator("#charts svg.strip path.fail")).to_be_attached()
        await check(desk, "probe")
        await phone.page.goto(f"{console}/probes/redis")
        await check(phone, "probe-phone")
