"""The signed link of a page: it shows a form and acts on nothing, until the form is sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from monitor.alerting import links
from monitor.core.action import Acknowledge, Refused
from monitor.core.incident import Ack, Incident, State
from monitor.core.runbook import Severity
from tests.web import portal
from tests.web.test_guard import BEARER, address_of_this_machine, hashed, served

OPEN = portal.REDIS_DOWN


def link(source: portal.Source, incident: Incident = OPEN) -> str:
    return links.make(source.link_secret, "", incident)


@pytest.mark.parametrize("users", ["", f"basic_auth_users: {{ann: {hashed('pw')}}}"], ids=["open", "with users"])
async def test_whoever_has_the_link_acknowledges_with_a_name_and_no_login(tmp_path: Path, users: str) -> None:
    async with served(tmp_path, users) as (source, client):
        form = await client.get(link(source))
        assert (form.status_code, source.acted) == (200, [])
        assert "Redis connection failures" in form.text
        assert "<script" not in form.text
        assert form.headers["referrer-policy"] == "no-referrer"
        assert (await client.get("/static/ack.css")).status_code == 200
        # What a browser sends: a form, from a page that tells its origin to nobody.
        headers = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
        done = await client.post(link(source), data={"by": " Mei ", "text": "Looking"}, headers=headers)
        assert (done.status_code, "Thank you, Mei." in done.text, "<form" in done.text) == (200, True, False)
        assert source.acted == [(OPEN.key, Acknowledge("Looking", opening=1), "Mei")]
        if users:
            assert (await client.get("/incidents/" + OPEN.key)).status_code == 401  # nothing else opens by it


async def test_it_works_from_a_phone_where_other_changes_are_refused(tmp_path: Path) -> None:
    address = address_of_this_machine()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    async with served(tmp_path, host="0.0.0.0") as (source, client):
        there = f"http://{address}:{client.base_url.port}"
        note = f"{there}/api/v1/incidents/{OPEN.key}/note"
        assert (await client.post(note, json={"text": "x", "by": "x"}, headers=BEARER)).status_code == 403
        assert (await client.post(there + link(source), data={"by": "Mei"})).status_code == 200
        assert [by for _, _, by in source.acted] == ["Mei"]


async def test_a_form_without_a_name_asks_again_and_keeps_what_was_written(tmp_path: Path) -> None:
    async with served(tmp_path) as (source, client):
        for by in ("", " \u202e ", "x" * 101):
            again = await client.post(link(source), data={"by": by, "text": "On <b>it</b>"})
            assert (again.status_code, source.acted) == (400, [])
            assert 'value="On &lt;b&gt;it&lt;/b&gt;"' in again.text
        assert (await client.post(link(source), content=b"x" * 70_000)).status_code == 400


@pytest.mark.parametrize("token", ["", "1", "1.x", "2.{mac}", "1.{mac}x", "é", "1.{mac}&token=1.y"])
async def test_a_link_that_we_did_not_sign_shows_and_does_nothing(tmp_path: Path, token: str) -> None:
    async with served(tmp_path) as (source, client):
        mac = links.token(source.link_secret, OPEN.key, 1).partition(".")[2]
        address = f"/incidents/{OPEN.key}/ack?token={token.format(mac=mac)}"
        if token.endswith(".y"):
            address = f"/incidents/{portal.SLOW.key}/ack?token=1.{mac}"  # another incident's
        for answer in (await client.get(address), await client.post(address, data={"by": "mei"})):
            assert (answer.status_code, "This link does not work" in answer.text) == (403, True)
            assert "Redis" not in answer.text
        assert source.acted == []


@pytest.mark.parametrize(
    ("now", "heading", "said"),
    [
        (
            replace(OPEN, state=State.RESOLVED, resolved_at=portal.NOW - 60),
            "Resolved already",
            "2026-11-23 16:59:00 UTC",
        ),
        (replace(OPEN, opening=2), "An older page", "opened again since"),
        (replace(OPEN, ack=Ack(portal.NOW, "Ann <3", Severity.P2)), "Acknowledged already", "Ann &lt;3 did,"),
        (None, "This incident is long over", "nothing to do"),
    ],
)
async def test_a_link_whose_time_is_over_says_so_and_asks_for_nothing(
    tmp_path: Path, now: Incident | None, heading: str, said: str
) -> None:
    async with served(tmp_path) as (source, client):
        source.show(portal.snapshot(incidents=(now,) if now else ()))
        page = await client.get(link(source))
        assert (page.status_code, f"<h1>{heading}</h1>" in page.text, said in page.text) == (200, True, True)
        assert "<form" not in page.text
        late = await client.post(link(source), data={"by": "mei"})
        assert (late.status_code, source.acted) == (409, [])


async def test_whoever_was_slower_is_told_who_was_faster(tmp_path: Path) -> None:
    async with served(tmp_path) as (source, client):

        async def slower(key: str, what: object, by: str) -> Incident:
            source.show(portal.snapshot(incidents=(replace(OPEN, ack=Ack(portal.NOW, "Ann", OPEN.severity)),)))
            raise Refused("Ann has acknowledged it already")

        source.act = slower  # type: ignore[method-assign]
        late = await client.post(link(source), data={"by": "mei"})
        assert (late.status_code, "Ann did," in late.text) == (409, True)


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site", "Origin": "null"}, {"Origin": "https://evil.example.com"}]
)
async def test_a_page_of_another_site_acknowledges_nothing(tmp_path: Path, headers: dict[str, str]) -> None:
    async with served(tmp_path) as (source, client):
        answer = await client.post(link(source), data={"by": "mei"}, headers=headers)
        assert (answer.status_code, source.acted) == (403, [])
