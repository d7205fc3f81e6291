"""Logging in at the console: who may, what a form must carry, and under whose name it acts."""

from __future__ import annotations

import re
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from structlog.testing import capture_logs

from monitor.core.action import Acknowledge, Action, Identify, Note, Open, Refused, Resolve, SetImpact, SetSeverity
from monitor.core.incident import Incident, Origin
from monitor.core.runbook import Severity
from monitor.web.session import LASTS_SECONDS, Session, Sessions, name_of
from tests.web import portal
from tests.web.conftest import TOKEN, Site
from tests.web.test_guard import certify, hashed, served, trusting

KEY = portal.REDIS_DOWN.key


async def log_in(client: httpx.AsyncClient, name: str = "Ana", token: str = TOKEN, back: str = "") -> httpx.Response:
    return await client.post("/login", data={"name": name, "token": token, "next": back})


async def csrf_of(client: httpx.AsyncClient) -> str:
    [found] = set(re.findall(r'data-csrf="([^"]*)"', (await client.get("/")).text))
    return str(found)


async def act(site: Site, verb: str, **fields: str) -> httpx.Response:
    csrf = fields.pop("csrf", None) or await csrf_of(site.client)
    return await site.client.post(
        f"/act/{KEY}/{verb}", data={"csrf": csrf, **fields}, headers={"Accept": "application/json"}
    )


# --- logging in ------------------------------------------------------------------------------------------------------


async def test_the_token_and_a_name_begin_a_session(site: Site) -> None:
    answer = await log_in(site.client, back=f"incidents/{KEY}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"./incidents/{KEY}")
    [cookie] = SimpleCookie(answer.headers["set-cookie"]).values()
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"], cookie["max-age"]) == ("strict", "/", str(int(LASTS_SECONDS)))
    page = (await site.client.get("/")).text
    assert '<span class="visitor">Ana</span>' in page
    assert (await site.client.get("/session")).json()["name"] == "Ana"


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "x", "é"])
async def test_another_token_begins_none_and_is_noticed(site: Site, token: str) -> None:
    with capture_logs() as logged:
        answer = await log_in(site.client, token=token)
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    assert [(line["event"], line["name"]) for line in logged] == [("login_refused", "Ana")]
    assert (await site.client.get("/session")).json() == {"name": None, "csrf": None}


@pytest.mark.parametrize("name", ["", "  ", "\x1b\x00", "monitor", " Monitor "])
async def test_nobody_acts_without_a_name(site: Site, name: str) -> None:
    answer = await log_in(site.client, name=name)
    assert (answer.status_code, "set-cookie" in answer.headers) == (400, False)


@pytest.mark.parametrize("token", ["", TOKEN])
async def test_a_token_in_the_place_of_the_name_is_neither_kept_nor_shown(site: Site, token: str) -> None:
    with capture_logs() as logged:
        answer = await log_in(site.client, name=TOKEN, token=token)
    assert (answer.status_code, "set-cookie" in answer.headers) == (400, False)
    assert TOKEN not in answer.text + str(logged)


async def test_a_secret_is_nobodys_name(site: Site) -> None:
    await log_in(site.client, name=f"Ana {portal.CANARY}")
    assert (await site.client.get("/session")).json()["name"] == "Ana [secret]"


async def test_a_form_of_too_many_fields_says_nothing(site: Site) -> None:
    answer = await site.client.post(
        "/login", data={"token": TOKEN, "name": "Ana", **{f"x{each}": "" for each in range(60)}}
    )
    assert (answer.status_code, "set-cookie" in answer.headers) == (400, False)


def test_a_name_is_one_printable_line_and_not_endless() -> None:
    assert name_of(" Ana\n\x1b[31m  Ito ") == "Ana [31m Ito"
    assert len(name_of("x" * 1000)) == 60


@pytest.mark.parametrize(
    "back",
    ["//evil.example", "https://evil.example", "../x", "incidents/../../x", "javascript:alert(1)", "/", "\\\\evil"],
)
async def test_a_login_leads_to_no_other_site(site: Site, back: str) -> None:
    assert (await log_in(site.client, back=back)).headers["location"] == "./"
    page = await site.client.get("/login", params={"next": back})
    assert back == "/" or back not in page.text


async def test_a_page_of_another_site_can_log_nobody_in(site: Site) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = await site.client.post("/login", data={"name": "Ana", "token": TOKEN}, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    form = await site.client.get("/login", headers={"Sec-Fetch-Site": "cross-site"})
    assert (form.status_code, "Token of this run" in form.text) == (200, True)


async def test_a_user_of_the_web_file_gives_only_a_name(tmp_path: Path) -> None:
    async with served(tmp_path, f"basic_auth_users: {{admin: '{hashed('right')}'}}") as (source, client):
        assert (await client.get("/login")).status_code == 401
        client.auth = httpx.BasicAuth("admin", "right")
        form = await client.get("/login")
        assert 'value="admin"' in form.text
        assert "Token" not in form.text
        assert (await client.post("/login", data={"name": "Ana"})).status_code == 303
        csrf = await csrf_of(client)
        assert (await client.post(f"/act/{KEY}/ack", data={"csrf": csrf})).status_code == 303
        assert source.acted == [(KEY, Acknowledge(), "Ana (as admin)")]


async def test_over_tls_the_cookie_is_secure(tmp_path: Path) -> None:
    certify(tmp_path, "one")
    text = "tls_server_config: {cert_file: one.pem, key_file: one.key}"
    async with served(tmp_path, text, verify=trusting(tmp_path, "one")) as (_, client):
        [cookie] = SimpleCookie((await log_in(client)).headers["set-cookie"]).values()
        assert cookie["secure"]


# --- acting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb, fields, done",
    [
        ("ack", {}, Acknowledge()),
        ("note", {"text": "seen", "fix": "on"}, Note("seen", fix=True)),
        ("note", {"text": "on"}, Note("on")),
        ("identify", {"text": "disk"}, Identify("disk")),
        ("impact", {"text": "slow", "customers": "on"}, SetImpact("slow", customers=True)),
        ("severity", {"severity": "P1", "why": "worse"}, SetSeverity(Severity.P1, "worse")),
        ("resolve", {"text": "done", "force": "", "false_alarm": " "}, Resolve("done")),
    ],
)
async def test_whoever_logged_in_acts_under_their_name(
    site: Site, verb: str, fields: dict[str, str], done: Action
) -> None:
    await log_in(site.client)
    answer = await act(site, verb, **fields)
    assert answer.status_code == 200, answer.text
    assert site.source.acted == [(KEY, done, "Ana")]
    assert f"{KEY} is investigating at P2" in answer.json()["said"]


async def test_what_a_customer_tells_is_reported_at_the_console(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[tuple[Open, str]] = []

    async def take(what: Open, by: str) -> Incident:
        reported.append((what, by))
        return portal.WHMCS_OVER

    monkeypatch.setattr(site.source, "open", take)
    await log_in(site.client)
    fields = {
        "scenario": "whmcs",
        "origin": "customer",
        "severity": "",
        "why": "no invoices",
        "csrf": await csrf_of(site.client),
    }
    answer = await site.client.post("/report", data=fields)
    assert (answer.status_code, answer.headers["location"]) == (303, f"./incidents/{portal.WHMCS_OVER.key}")
    assert reported == [(Open("whmcs", "no invoices", origin=Origin.CUSTOMER), "Ana")]
    page = (await site.client.get("/")).text
    assert '<option value="whmcs">' in page
    assert '<option value="redis">' not in page  # it is open already
    refused = await site.client.post(
        "/report", data={**fields, "origin": "alert"}, headers={"Accept": "application/json"}
    )
    assert refused.status_code == 400


async def test_without_a_script_a_form_leads_back_to_the_incident(site: Site) -> None:
    await log_in(site.client)
    answer = await site.client.post(f"/act/{KEY}/ack", data={"csrf": await csrf_of(site.client)})
    assert (answer.status_code, answer.headers["location"]) == (303, f"../../incidents/{KEY}")


async def test_a_cookie_alone_changes_nothing(site: Site) -> None:
    await log_in(site.client)
    own = await csrf_of(site.client)
    async with httpx.AsyncClient(base_url=site.served.url, trust_env=False, verify=False) as other:
        await log_in(other, "Eve")
        theirs = await csrf_of(other)
    assert own != theirs
    for csrf in (theirs, own[:-1], "é"):
        assert (await act(site, "ack", csrf=csrf)).status_code == 403
    assert (await site.client.post(f"/act/{KEY}/ack")).status_code == 403
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
        answer = await site.client.post(f"/act/{KEY}/ack", data={"csrf": own}, headers=headers)
        assert answer.status_code == 403
    assert site.source.acted == []


async def test_nobody_who_did_not_log_in_changes_anything(site: Site) -> None:
    for path in (f"/act/{KEY}/ack", "/logout"):
        answer = await site.client.post(path, data={"csrf": ""})
        assert (answer.status_code, site.source.acted) == (401, [])
    site.client.cookies.set(f"portal_monitor_session_{site.served.port}", "WyJBbmEiLDllOSwieCJd.forged")
    assert (await act(site, "ack", csrf="x")).status_code == 401


async def test_who_logs_out_is_out_whoever_kept_the_cookie(site: Site) -> None:
    await log_in(site.client)
    csrf, kept = await csrf_of(site.client), dict(site.client.cookies)
    answer = await site.client.post("/logout", data={"csrf": csrf})
    assert answer.status_code == 303
    assert f'portal_monitor_session_{site.served.port}="";' in answer.headers["set-cookie"]
    for name, value in kept.items():
        site.client.cookies.set(name, value)
    assert (await act(site, "ack", csrf=csrf)).status_code == 401


async def test_what_cannot_be_done_is_said_in_one_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await log_in(site.client)

    async def refuse(key: str, what: Action, by: str) -> Incident:
        raise Refused("bff/cache still fails")

    missing = await act(site, "note", text=" ")
    assert (missing.status_code, "text" in missing.json()["error"]) == (400, True)
    monkeypatch.setattr(site.source, "act", refuse)
    answer = await act(site, "resolve")
    assert (answer.status_code, answer.json()) == (409, {"error": "bff/cache still fails"})
    assert (await act(site, "explode")).status_code == 404


async def test_a_form_that_is_too_large_is_not_read_to_its_end(site: Site) -> None:
    await log_in(site.client)
    body = urlencode({"csrf": await csrf_of(site.client), "text": "x" * 200_000})
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await site.client.post(f"/act/{KEY}/note", content=body, headers=kind)).status_code == 403
    assert site.source.acted == []


async def test_what_everybody_is_sent_holds_nobodys_secret(site: Site) -> None:
    await log_in(site.client)
    csrf = await csrf_of(site.client)
    assert csrf in (await site.client.get("/")).text
    async with site.client.stream("GET", "/events") as answer:
        async for line in answer.aiter_lines():
            assert csrf not in line
            if line.startswith("data: "):
                break
    async with httpx.AsyncClient(base_url=site.served.url, trust_env=False, verify=False) as stranger:
        page = (await stranger.get("/")).text
    assert csrf not in page
    assert 'class="anonymous"' in page


async def test_two_monitors_on_one_host_keep_their_own_sessions(site: Site, tmp_path: Path) -> None:
    await log_in(site.client)
    async with served(tmp_path) as (_, other):
        other.cookies = site.client.cookies
        await log_in(other, "Ben")
        assert (await other.get("/session")).json()["name"] == "Ben"
        site.client.cookies = other.cookies
    assert (await site.client.get("/session")).json()["name"] == "Ana"


# --- cookies ---------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that stands where a test puts it."""

    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds

    def moment(self) -> tuple[str, float, float]:
        return "", self.at, self.at


def test_a_session_ends_with_the_shift() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    session = sessions.begin("Ana")
    cookie = sessions.cookie(session)
    clock.at += LASTS_SECONDS - 1
    assert sessions.of(cookie) == session
    clock.at += 2
    assert sessions.of(cookie) is None


def test_a_cookie_that_we_did_not_make_is_nobodys() -> None:
    sessions = Sessions(Clock())
    cookie = sessions.cookie(sessions.begin("Ana"))
    said, _, signature = cookie.partition(".")
    forged = sessions.cookie(Session("Eve", 1e12, "x")).partition(".")[0]
    for other in (
        "",
        ".",
        "x",
        said,
        f"{said}.",
        f"{said}.{signature[:-1]}",
        f"{forged}.{signature}",
        f"é.{signature}",
    ):
        assert sessions.of(other) is None
    assert Sessions(Clock()).of(cookie) is None  # another process
