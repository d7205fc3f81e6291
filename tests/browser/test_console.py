"""The console in a real browser: against hostile text, without a script, by keyboard alone, and when the line is cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect
from pydantic import SecretStr

from monitor.core.config import WebConfig
from monitor.web.server import serve
from tests.browser.chromium import DESKTOP, PHONE, chromium, visit
from tests.web import portal
from tests.web.conftest import TOKEN, Site
from tests.web.test_console import HOSTILE_PAGES, crowd, hostile

KEY = portal.REDIS_DOWN.key


async def test_hostile_text_runs_nothing_and_breaks_no_page(site: Site, tmp_path: Path) -> None:
    site.source.show(hostile())
    async with chromium() as browser, visit(browser, tmp_path, PHONE) as visitor:
        page = visitor.page
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        for path in HOSTILE_PAGES:
            await page.goto(site.served.url + path)
            await expect(page.locator("main")).to_contain_text("alert(2)")
            assert await page.evaluate("document.querySelectorAll('img, main script').length") == 0
            assert await visitor.spills() <= 0, path
            assert await visitor.barriers() == [], path
        assert (dialogs, visitor.faults) == ([], [])


async def test_everything_can_be_read_without_a_script(site: Site, tmp_path: Path) -> None:
    async with chromium() as browser, visit(browser, tmp_path, script=False) as visitor:
        page = visitor.page
        await page.goto(site.served.url)
        await expect(page.locator("#sentence")).to_have_text("P2: Redis connection failures (1 symptom).")
        await expect(page.locator("time").first).to_contain_text("UTC")
        await page.get_by_role("link", name="Redis connection failures").first.click()
        await expect(page.locator("#timeline")).to_contain_text("opened")
        await page.get_by_role("link", name="Log in to act").click()
        await page.get_by_label("Your name").fill("Ana")
        await page.get_by_label("Token of this run").fill(TOKEN)
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_role("button", name="Acknowledge").click()
        await expect(page).to_have_url(f"{site.served.url}/incidents/{KEY}")
        assert [(key, by) for key, _, by in site.source.acted] == [(KEY, "Ana")]


async def test_a_keyboard_is_enough(site: Site, tmp_path: Path) -> None:
    async with chromium() as browser, visit(browser, tmp_path, DESKTOP, dark=True) as visitor:
        page = visitor.page
        await page.goto(f"{site.served.url}/login?next=incidents/{KEY}")
        await page.keyboard.type("Ana")
        await page.keyboard.press("Tab")
        await page.keyboard.type(TOKEN)
        await page.keyboard.press("Enter")
        await expect(page.locator("body.known")).to_be_attached()
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
        for _ in range(40):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.textContent") == "Note":
                break
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await page.keyboard.type("seen by keyboard")
        site.source.show(portal.snapshot(incidents=(portal.REDIS_DOWN,)))  # news arrive while somebody writes
        await expect(page.get_by_text("1 symptom")).to_have_count(0)
        await page.keyboard.type(", and more")
        assert await page.evaluate("document.activeElement.value") == "seen by keyboard, and more"
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("#said")).to_contain_text("Noted.")
        assert [getattr(what, "text", "") for _, what, _ in site.source.acted] == ["seen by keyboard, and more"]
        assert await visitor.barriers() == []
        assert visitor.faults == []


async def test_what_is_refused_is_said_where_it_was_asked(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monitor.core.action import Action, Refused
    from monitor.core.incident import Incident

    async def refuse(key: str, what: Action, by: str) -> Incident:
        raise Refused("bff/cache still fails; say why not")

    monkeypatch.setattr(site.source, "act", refuse)
    async with chromium() as browser, visit(browser, tmp_path) as visitor:
        page = visitor.page
        await page.goto(f"{site.served.url}/login")
        await page.get_by_label("Your name").fill("Ana")
        await page.get_by_label("Token of this run").fill(TOKEN)
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_text("Resolve", exact=True).first.click()
        await page.get_by_label("What resolved it").first.fill("it is fine")
        await page.get_by_role("button", name="Resolve it").first.click()
        await expect(page.get_by_role("alert").filter(has_text="still fails")).to_be_visible()
        assert await page.get_by_label("What resolved it").first.input_value() == "it is fine"


async def test_the_status_update_is_copied_for_whoever_reads(site: Site, tmp_path: Path) -> None:
    allowed = ["clipboard-read", "clipboard-write"]
    async with chromium() as browser, visit(browser, tmp_path, permissions=allowed) as visitor:
        page = visitor.page
        for path in ("/", f"/incidents/{KEY}"):
            await page.goto(site.served.url + path)
            await page.get_by_role("button", name="Copy status update").first.click()
            await expect(page.get_by_role("button", name="Copied")).to_be_visible()
            copied = await page.evaluate("navigator.clipboard.readText()")
            assert copied.startswith("INCIDENT UPDATE - P2 - Redis connection failures")
            await page.evaluate("navigator.clipboard.writeText('')")


async def test_an_old_page_says_that_it_is_old_and_comes_back(tmp_path: Path) -> None:
    source = portal.Source()
    async with chromium() as browser, visit(browser, tmp_path) as visitor:
        page = visitor.page
        await page.clock.install()
        async with serve(source, WebConfig(port=0), SecretStr(TOKEN)) as served:
            await page.goto(served.url)
            await expect(page.locator("#live")).to_have_text("live")
        await page.clock.fast_forward(60_000)
        await expect(page.locator("#live")).to_contain_text("what you see is old")
        source.show(portal.quiet_snapshot())
        async with serve(source, WebConfig(port=served.port), SecretStr(TOKEN)):
            await page.clock.fast_forward(20_000)
            await expect(page.locator("#sentence")).to_contain_text("All is well")
            await expect(page.locator("#live")).to_have_text("live")


async def test_two_hundred_probes_fit_a_phone(site: Site, tmp_path: Path) -> None:
    site.source.show(crowd(200))
    async with chromium() as browser, visit(browser, tmp_path, PHONE) as visitor:
        await visitor.page.goto(site.served.url)
        await expect(visitor.page.locator("tr[id^=probe-]")).to_have_count(200)
        assert await visitor.spills() <= 0
        assert visitor.faults == []
