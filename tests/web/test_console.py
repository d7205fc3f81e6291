"""The console: what it says, that nothing hostile gets through, that it is live."""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.console import Console as Terminal

from monitor.commands import watch
from monitor.commands.terminal import show_status
from monitor.core.config import Config, ProbeConfig
from monitor.core.incident import Ack, State
from monitor.core.maintenance import Window
from monitor.core.probe import Outcome, Result
from monitor.core.runbook import Level, Rule, Severity, Term
from monitor.core.severity import RuleVerdict, Verdict
from monitor.core.snapshot import MonitorView, ProbeView, Snapshot
from monitor.core.wording import fill
from monitor.core.words import advice, clean, label, measured, quantity
from monitor.web import live
from monitor.web.api import status_json
from monitor.web.console import Console
from monitor.web.rows import row
from monitor.web.words import overall
from tests.web import portal
from tests.web.conftest import TOKEN, Site


class Page(HTMLParser):
    """The page as a browser has it: text by id, tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def render(snapshot: Snapshot) -> str:
    console = Console()
    return console.page(snapshot, console.pieces(snapshot))


# --- what it says ----------------------------------------------------------------------------------------------------


def monitor(**more: Any) -> MonitorView:
    return replace(portal.snapshot().monitor, **more)


def only(name: str, level: Level) -> dict[str, ProbeView]:
    return {name: portal.view(portal.CONFIGS[name], level, reason="unreachable" if level is Level.FAIL else "")}


@pytest.mark.parametrize(
    "snapshot, tone, sentence",
    [
        (portal.snapshot(), "fail", "P2: Redis connection failures (1 symptom)."),
        (portal.snapshot(incidents=(portal.REDIS_DOWN,)), "fail", "P2: Redis connection failures."),
        (
            portal.snapshot(incidents=(replace(portal.SLOW, parent=None), portal.REDIS_DOWN)),
            "fail",
            "P2: Redis connection failures (1 more open).",
        ),
        (
            portal.snapshot(incidents=(replace(portal.SLOW, parent=None),)),
            "warn",
            "P3: High error rate or slow answers.",
        ),
        (portal.snapshot(incidents=(replace(portal.SLOW, scenario="gone", parent=None),)), "warn", "P3: gone."),
        (portal.quiet_snapshot(), "ok", "All is well: 8 probes are ok."),
        (portal.snapshot(incidents=(), probes=only("egress", Level.OK)), "ok", "All is well: 1 probe is ok."),
        (
            portal.snapshot(incidents=(), probes=only("redis", Level.FAIL)),
            "fail",
            "No incident is open, but redis fails.",
        ),
        (
            portal.snapshot(incidents=(), probes=only("redis", Level.UNKNOWN)),
            "unknown",
            "No incident is open, but redis cannot be judged.",
        ),
        (
            portal.snapshot(incidents=(), probes=portal.probes()),
            "fail",
            "No incident is open, but redis, bff fail; sf-replay cannot be judged; redis-cache is near a limit.",
        ),
        (portal.snapshot(incidents=(), probes={}), "unknown", "Nothing is watched: no probe is enabled."),
        (
            portal.snapshot(incidents=(), probes={"egress": ProbeView(config=portal.CONFIGS["egress"])}),
            "unknown",
            "Just started: none of 1 probe has run yet.",
        ),
    ],
)
def test_the_state_in_one_sentence(snapshot: Snapshot, tone: str, sentence: str) -> None:
    assert (overall(snapshot).tone, overall(snapshot).sentence) == (tone, sentence)


@pytest.mark.parametrize(
    "trouble, said",
    [
        ({"store_error": "disk full"}, "cannot save what happens: disk full"),
        ({"ticking": False}, "scheduler does not run"),
        ({"reload_ok": False}, "last reload failed"),
    ],
)
def test_trouble_of_the_monitor_is_said_beside_the_sentence(trouble: Mapping[str, Any], said: str) -> None:
    assert said in overall(replace(portal.quiet_snapshot(), monitor=monitor(**trouble))).more


def test_what_is_not_well_is_never_called_well() -> None:
    for level in (Level.WARN, Level.FAIL, Level.UNKNOWN):
        for name in portal.CONFIGS:
            views = {**portal.quiet_snapshot().probes, **only(name, level)}
            state = overall(portal.snapshot(incidents=(), probes=views))
            assert (state.tone == "ok") is (name == "old")  # switched off


def reason_of(name: str, level: Level, reason: str, **more: Any) -> str:
    config = portal.CONFIGS[name]
    return advice(portal.view(config, level, reason=reason, result=portal.ran(config, **more)))


def test_why_a_probe_is_not_ok_is_said_in_words() -> None:
    high = {"measurements": {"memory_used_ratio": 0.879, "ping_seconds": 0.2}}
    back = {"measurements": {"memory_used_ratio": 0.7}}
    assert reason_of("redis", Level.FAIL, "unreachable").startswith("Nothing accepts connections")
    assert reason_of("redis", Level.WARN, "memory_used_ratio", **high) == "Memory used is 87.9 %: over 80%."
    assert reason_of("redis", Level.WARN, "memory_used_ratio", **back).startswith(
        "Memory used is 70 %: back from over 80%"
    )
    assert "did not measure" in reason_of("redis", Level.WARN, "memory_used_ratio")
    assert reason_of("bff", Level.FAIL, "cache") == "The target itself says that its cache is not well."
    assert reason_of("sf-replay", Level.UNKNOWN, "needs redis") == "Cannot be judged while redis is not well."
    assert reason_of("redis", Level.FAIL, "timeout").startswith("The target did not answer in time")
    assert reason_of("redis", Level.FAIL, "no-such-why") == "Because of no-such-why."
    assert reason_of("redis", Level.OK, "") == ""
    assert reason_of("redis", Level.UNKNOWN, "") == "Not judged yet: too few runs."


def test_a_failing_run_that_is_not_confirmed_is_said() -> None:
    config = portal.CONFIGS["redis"]
    failed = portal.ran(config, Outcome.FAILURE, reason="unreachable")
    assert advice(portal.view(config, result=failed)).startswith(
        "The last run did not succeed; not confirmed yet. Nothing"
    )
    changing = portal.view(config, Level.FAIL, reason="run", result=failed)
    assert advice(changing).startswith("Runs fail for changing reasons; the last: Nothing accepts")


@pytest.mark.parametrize(
    "measurement, value, said",
    [
        ("memory_used_ratio", 0.879, "87.9 %"),
        ("error_ratio", 0.0123, "1.23 %"),
        ("ping_seconds", 0.0004, "0.4 ms"),
        ("ping_seconds", 0, "0s"),
        ("duration_seconds", 2.5, "2.5 s"),
        ("age_seconds", 7300, "2h 1m"),
        ("certificate_left_seconds", -86400, "-1d"),
        ("memory_used_bytes", 943718400, "900 MiB"),
        ("memory_used_bytes", 2.5e13, "23 283 GiB"),
        ("evicted_keys_per_second", 3.21, "3.21/s"),
        ("connections", 1234567, "1 234 567"),
        ("x", 0.00012, "0.00012"),
        ("x", float("nan"), "no number"),
        ("x", float("inf"), "inf"),
    ],
)
def test_numbers_have_their_units(measurement: str, value: float, said: str) -> None:
    assert quantity(measurement, value) == said


def test_measurements_have_names_that_can_be_read() -> None:
    assert [label(name) for name in ("memory_used_ratio", "error_ratio", "latency_p95_seconds[whmcs]", "keys")] == [
        "memory used",
        "error ratio",
        "latency p95 of whmcs",
        "keys",
    ]


def test_of_several_parts_the_one_nearest_the_limit_is_shown() -> None:
    [condition] = portal.configure("x", portal.REPLAY, warn="age_seconds > 2h").warn
    assert measured(condition, {"age_seconds": {"a": 10.0, "b": 20.0}}) == ("b", 20.0)
    assert measured(condition, {"age_seconds": {"": 5.0, "b": 20.0}}) == ("", 5.0)
    assert measured(condition, {"age_seconds": {}}) is None
    assert measured(condition, {}) is None
    [gauge] = row(portal.probes()["latency"], frozenset()).gauges
    assert (gauge.name, gauge.value, gauge.level) == ("latency mean", "800 ms", "ok")


def test_a_value_stands_beside_its_limits() -> None:
    [gauge] = row(portal.probes()["redis-cache"], frozenset()).gauges
    assert (gauge.value, gauge.width, gauge.level) == ("87.9 %", 87.9, "warn")
    assert [(limit.text, limit.at) for limit in gauge.limits] == [("warn > 80%", 80.0), ("fail > 95%", 95.0)]


def test_a_meter_is_drawn_only_where_something_stands_on_it() -> None:
    failed = row(portal.probes()["redis"], frozenset()).gauges
    assert [(gauge.name, gauge.value, gauge.width) for gauge in failed] == [("nothing measured", "", None)]
    config = portal.configure("x", portal.TCP, fail="connect_seconds > 0s")
    [gauge] = row(
        portal.view(config, result=portal.ran(config, measurements={"connect_seconds": 4.0})), frozenset()
    ).gauges
    assert (gauge.value, gauge.level, gauge.width) == ("4 s", "fail", None)


def test_a_probe_that_is_not_well_was_not_good_just_now() -> None:
    assert row(portal.probes()["bff"], frozenset()).last_good_at == portal.NOW - 260  # its last run succeeded
    assert row(portal.probes()["egress"], frozenset()).last_good_at == portal.NOW - 3
    assert row(portal.probes()["redis"], frozenset()).last_good_at == portal.NOW - 264


def test_open_incidents_come_first_with_what_to_do() -> None:
    html = render(portal.snapshot())
    page = Page(html).text
    assert page.index("Sign-in can fail") < page.index("Check Redis is running") < page.index("Last values and limits")
    assert "redis-cli INFO memory" in page
    assert "a symptom of Redis connection failures, pages nobody" in " ".join(page.split())
    assert "L1 at P2" in page
    assert 'href="./probes/bff"' in html
    assert "within 1h" in page


@pytest.mark.parametrize(("later", "said"), [(0, "Response due"), (86400, "Response")])
def test_a_response_that_is_owed_says_until_when(later: int, said: str) -> None:
    """The time is shown as `in 0:24`, or as `overdue for 0:24`."""
    held = replace(portal.REDIS_DOWN.takes(Severity.P2, portal.NOW), opened_at=portal.NOW)
    html = render(portal.snapshot(at=portal.NOW + later, incidents=(held,), recorded=True))
    assert re.search(f"<b>{said}</b> <time [^>]*data-style=.due.", html)


def test_what_is_held_by_a_probe_that_cannot_be_judged_is_nowhere_overdue(capsys: pytest.CaptureFixture[str]) -> None:
    watched = replace(portal.REDIS_DOWN, state=State.MONITORING, mitigated_at=portal.NOW - 86400)
    rule = Rule(Severity.P2, (Term("redis", "probe", "redis"),), "any")
    unknown = Verdict("redis", None, (RuleVerdict(rule, None, None, None, False, terms={"redis": None}),))
    snapshot = portal.snapshot(incidents=(watched,), verdicts={"redis": unknown})
    shown = " ".join(Page(render(snapshot)).text.split())
    assert "Not resolved, as redis cannot be judged" in shown
    answer = json.loads(json.dumps(status_json(snapshot)))
    show_status(answer, as_json=False)
    on_call = capsys.readouterr().out
    assert "resolved, if it stays clear: held, as redis cannot be judged" in on_call
    out = io.StringIO()
    Terminal(file=out, width=110).print(watch.render(answer, portal.NOW, alive=True))
    assert "not resolved, as redis cannot be judged" in out.getvalue()
    for each in (shown, on_call, out.getvalue()):
        assert "if it stays clear, overdue" not in each
        assert "if it stays clear: overdue" not in each


def test_every_probe_is_there_and_the_worst_come_first() -> None:
    ids = [tag["id"] for tag in Page(render(portal.snapshot())).all("tr") if "id" in tag]
    assert ids[:5] == ["system-redis", "probe-redis", "probe-redis-cache", "system-bff", "probe-bff"]
    assert ids[-1] == "probe-old"
    assert sum(name.startswith("probe-") for name in ids if name) == len(portal.CONFIGS)


def test_texts_of_the_runbook_are_filled_with_live_values() -> None:
    snapshot = portal.snapshot()
    assert fill('{{ probe["redis-cache"].memory_used_ratio }} full', snapshot.probes) == "87.9 % full"
    assert fill('{{ probe["nobody"].orders.waiting }} waiting', snapshot.probes) == "unknown waiting"
    assert fill("{{ unclosed", snapshot.probes) == "{{ unclosed"
    assert fill("{{ 1 / 0 }}", snapshot.probes) == "{{ 1 / 0 }}"
    assert fill('{{ "".__class__.__mro__ }}', snapshot.probes) in {"unknown", '{{ "".__class__.__mro__ }}'}


# --- hostile and large -----------------------------------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 99991*99991 }}{% raw %}\x1b[31m\x00\u2028\ud800"


def hostile() -> Snapshot:
    """Everything that comes from outside says HOSTILE, everywhere at once: targets, logs, vendors, people."""
    config = portal.CONFIGS["whmcs"]
    result = portal.ran(
        config,
        Outcome.FAILURE,
        reason="unreachable",
        detail=HOSTILE,
        details={HOSTILE: HOSTILE, "error 1": f"12 x {HOSTILE}", "error 2": HOSTILE},
        checks={HOSTILE: False},
        measurements={"phase_seconds": {HOSTILE: 1.0}, "latency_mean_seconds": {HOSTILE: 2.0}, "requests": 9.0},
    )
    past = portal.hour(config, lambda _: result)
    view = replace(
        portal.view(config, Level.FAIL, reason=HOSTILE, result=result, whys={HOSTILE: Level.FAIL}), past=past
    )
    log = replace(view, config=portal.CONFIGS["latency"])
    ack = Ack(portal.NOW, HOSTILE, Severity.P2)
    incident = replace(
        portal.REDIS_DOWN,
        why=(HOSTILE,), impact=HOSTILE, cause=HOSTILE, flags=(HOSTILE,), links=(HOSTILE, f"https://{HOSTILE}"), ack=ack,
        first_ack=ack, false_alarm=HOSTILE, reviewed_by=HOSTILE,
    )  # fmt: skip
    symptom = replace(portal.SLOW, parent=HOSTILE, why=(HOSTILE,))
    over = replace(portal.WHMCS_OVER, reviewed_at=portal.NOW, reviewed_by=HOSTILE, cause=HOSTILE, false_alarm=HOSTILE)
    window = Window("k", (HOSTILE,), portal.NOW - 1, portal.NOW + 9, HOSTILE, HOSTILE)
    return portal.snapshot(
        probes={"whmcs": view, "latency": log},
        incidents=(incident, symptom, over),
        monitor=monitor(store_error=HOSTILE, version=HOSTILE),
        windows=(window,),
    )


HOSTILE_PAGES = ["/", "/probes/whmcs", *(f"/incidents/{one.key}" for one in (portal.REDIS_DOWN, portal.WHMCS_OVER))]


@pytest.mark.parametrize("path", HOSTILE_PAGES)
async def test_what_comes_from_outside_is_only_ever_text(site: Site, path: str) -> None:
    site.source.show(hostile())
    await site.client.post("/login", data={"name": HOSTILE.replace("\ud800", ""), "token": TOKEN})
    answer = await site.client.get(path)
    assert answer.status_code == 200
    check_harmless(answer.text, "./" if path == "/" else "../")


async def test_a_login_is_only_ever_text(site: Site) -> None:
    evil = HOSTILE.replace("\ud800", "")
    for answer in (
        await site.client.get("/login", params={"next": evil}),
        await site.client.post("/login", data={"name": evil, "token": evil, "next": evil}),
    ):
        check_harmless(answer.text, "./")


async def test_a_piece_that_is_sent_later_is_only_ever_text(site: Site) -> None:
    site.source.show(hostile())
    async with site.client.stream("GET", "/events") as answer:
        _, news = await anext(events(answer.aiter_lines()))
    check_harmless("".join(news["pieces"].values()), None)


def check_harmless(html: str, root: str | None) -> None:
    page = Page(html)
    scripts = [str(tag.get("src", "")).split("?")[0] for tag in page.all("script")]
    assert scripts == ([f"{root}static/app.js"] if root else [])
    assert not page.all("img")
    assert not [name for _, tag in page.tags for name in tag if name.startswith("on") or name == "style"]
    assert "alert(2)" in page.text or root == "./"  # shown as text; a login need not say it again
    assert "9998200081" not in page.text  # no template was filled
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert not [tag for tag in page.all("a") if not re.match(r"\./|\.\./|#|\?|https?://", str(tag.get("href")))]


@pytest.mark.parametrize("path", ["/", "/probes/redis", "/api/v1/status", "/api/v1/probes", "/events", "/metrics"])
async def test_no_secret_is_shown_anywhere(site: Site, path: str) -> None:
    async with site.client.stream("GET", path) as answer:
        body = ""
        async for text in answer.aiter_text():
            body += text
            if path == "/events" and "pieces" in body and body.endswith("\n\n"):
                break
    assert portal.CANARY not in body
    assert path == "/metrics" or "[secret]" in body


def test_the_address_watched_is_shown_without_its_password() -> None:
    snapshot = portal.snapshot()
    page = Console().probe(snapshot, snapshot.probes["redis"])
    assert "redis://10.0.0.5:6379" in page
    assert portal.CANARY not in page


def test_control_characters_do_not_steer_a_terminal() -> None:
    assert clean("a\x1b[31mb\rc\u202ed\x9b1m") == "a [31mb c d 1m"


def crowd(probes: int) -> Snapshot:
    """Many probes, each with an hour of numbers that are never the same twice."""
    noise = random.Random(7)
    configs = {f"p{i}": portal.configure(f"p{i}", portal.REDIS, warn="ping_seconds > 1s") for i in range(probes)}
    views = {}
    for name, config in configs.items():

        def ran(_: int, config: ProbeConfig = config) -> Result:
            return portal.ran(config, measurements={"ping_seconds": noise.uniform(0.1, 0.9)})

        past = portal.hour(config, ran, per_minute=1)
        views[name] = replace(portal.view(config, result=past.runs[0].result), past=past)
    return portal.snapshot(config=Config(configs, "", ""), probes=views)


async def test_a_console_of_two_hundred_probes_weighs_under_a_hundred_kilobytes(site: Site) -> None:
    site.source.show(crowd(200))
    async with site.client.stream("GET", "/", headers={"Accept-Encoding": "gzip"}) as answer:
        sent = len(b"".join([chunk async for chunk in answer.aiter_raw()]))
    for name in ("app.css", "app.js", "icon.svg"):
        sent += len((await site.client.get(f"/static/{name}")).content)
    assert sent < 100_000


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAUSE_SECONDS", 0.01)


async def events(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        if line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


@pytest.mark.usefixtures("brisk")
async def test_only_what_changed_is_sent(site: Site) -> None:
    async with site.client.stream("GET", "/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        heard = events(answer.aiter_lines())
        name, first = await anext(heard)
        assert name == "pieces"
        assert first["title"] == "✕ P2: Redis connection failures (1 symptom)."
        systems = {f"system-{name}" for name in ("redis", "bff", "salesforce", "whmcs", "network")}
        others = {"state", "incidents", "maintenance", "logs", "unknown", "monitor", *systems}
        assert set(first["pieces"]) == others | {f"probe-{name}" for name in portal.CONFIGS}
        before = site.source.now
        slower = portal.ran(portal.CONFIGS["egress"], measurements={"connect_seconds": 0.5})
        probes = {**before.probes, "egress": replace(before.probes["egress"], result=slower)}
        site.source.show(replace(before, at=before.at + 1, probes=probes))
        name, second = await asyncio.wait_for(anext(heard), 3)
        assert (name, set(second["pieces"])) == ("pieces", {"probe-egress"})
        assert "500 ms" in second["pieces"]["probe-egress"]
        assert second["order"][0] == ["system-redis", ["probe-redis", "probe-redis-cache"]]


@pytest.mark.usefixtures("brisk")
async def test_who_has_the_page_is_sent_only_what_changed_since(site: Site) -> None:
    [body] = Page((await site.client.get("/")).text).all("body")
    before = site.source.now
    async with site.client.stream("GET", "/" + str(body["data-events"])) as answer:
        heard = events(answer.aiter_lines())
        assert (await anext(heard))[0] == "beat"  # nothing is new
    site.source.show(replace(before, at=before.at + 1, monitor=monitor(version="0.2.0")))
    async with site.client.stream("GET", "/" + str(body["data-events"])) as answer:
        name, news = await anext(events(answer.aiter_lines()))
        assert (name, set(news["pieces"])) == ("pieces", {"monitor"})
    async with site.client.stream("GET", "/events", headers={"Last-Event-ID": "another-7"}) as answer:
        assert "state" in (await anext(events(answer.aiter_lines())))[1]["pieces"]


@pytest.mark.usefixtures("brisk")
async def test_an_incident_appears_and_goes_without_a_reload(site: Site) -> None:
    site.source.show(portal.snapshot(incidents=()))
    async with site.client.stream("GET", "/events") as answer:
        heard = events(answer.aiter_lines())
        assert "incident-redis" not in (await anext(heard))[1]["pieces"]["incidents"]
        site.source.show(portal.snapshot())
        assert "incident-redis" in (await asyncio.wait_for(anext(heard), 3))[1]["pieces"]["incidents"]
        site.source.show(portal.snapshot(incidents=()))
        assert "incident-redis" not in (await asyncio.wait_for(anext(heard), 3))[1]["pieces"]["incidents"]


@pytest.mark.usefixtures("brisk")
async def test_a_change_while_the_last_is_being_sent_is_not_lost(site: Site) -> None:
    async with site.client.stream("GET", "/events") as answer:
        heard = events(answer.aiter_lines())
        await anext(heard)
        for count in range(1, 30):
            site.source.show(portal.snapshot(monitor=monitor(version=f"9.9.{count}")))
            if count % 7 == 0:
                await asyncio.sleep(0.011)
        async with asyncio.timeout(3):
            async for _, news in heard:
                if "9.9.29" in news["pieces"].get("monitor", ""):
                    break


@pytest.mark.usefixtures("brisk")
async def test_another_set_of_probes_loads_the_page_again(site: Site) -> None:
    async with site.client.stream("GET", "/events") as answer:
        heard = events(answer.aiter_lines())
        await anext(heard)
        site.source.show(portal.snapshot(probes=only("redis", Level.FAIL)))
        assert (await asyncio.wait_for(anext(heard), 3))[0] == "again"


async def test_a_quiet_stream_gives_signs_of_life(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BEAT_SECONDS", 0.02)
    async with site.client.stream("GET", "/events") as answer:
        heard = events(answer.aiter_lines())
        assert [(await anext(heard))[0] for _ in range(3)] == ["pieces", "beat", "beat"]


async def test_so_many_consoles_and_no_more_and_who_leaves_makes_room(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MOST_STREAMS", 1)
    async with site.client.stream("GET", "/events") as answer:
        await anext(answer.aiter_lines())
        assert (await site.client.get("/events")).status_code == 503
    async with asyncio.timeout(3):
        while True:
            async with site.client.stream("GET", "/events") as answer:
                if answer.status_code == 200:
                    break
            await asyncio.sleep(0.02)


async def test_fifty_consoles_cost_one_rendering(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[Snapshot] = []
    pieces = Console.pieces

    def counted(console: Console, snapshot: Snapshot) -> Mapping[str, str]:
        rendered.append(snapshot)
        return pieces(console, snapshot)

    monkeypatch.setattr(Console, "pieces", counted)

    async def look() -> str:
        async with site.client.stream("GET", "/events") as answer:
            heard = events(answer.aiter_lines())
            return (await anext(heard))[0]

    assert set(await asyncio.gather(*(look() for _ in range(50)))) == {"pieces"}
    assert len(rendered) == 1


def test_a_row_that_did_not_change_is_not_made_again() -> None:
    console, snapshot = Console(), portal.snapshot()
    first = console.pieces(snapshot)
    second = console.pieces(replace(snapshot, at=snapshot.at + 1))
    assert second["probe-redis"] is first["probe-redis"]


def test_severities_are_shown_as_the_runbook_names_them() -> None:
    worse = replace(portal.REDIS_DOWN, severity=Severity.P1, peak=Severity.P1)
    assert "P1 Critical" in Page(render(portal.snapshot(incidents=(worse,)))).text
