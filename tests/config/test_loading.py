"""What a good pair becomes, and what is only warned of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from monitor.core.calendar import Calendar
from monitor.core.condition import Condition
from monitor.core.config import AlertmanagerConfig, FailAfter, ProbeConfig, WebConfig
from monitor.core.loading import ConfigError, Loaded, load
from monitor.core.runbook import OTHER, Level, Severity, Term
from monitor.probes import discover
from tests.config.loading import GOOD

RUNBOOK = (GOOD / "runbook.yaml").read_text()
PROBES = "runbook: runbook.yaml\nprobes:\n  redis: {type: redis, url: '${REDIS_URL}'}\n"
ENV = {
    "REDIS_URL": "redis://:CANARY-p%40ss@localhost",
    "PASSWORD": "CANARY-word",
    "HOOK": "https://example.com/CANARY-hook",
}


def load_text(
    probes: str, runbook: str = RUNBOOK, files: Mapping[str, str] | None = None, path: str = "/etc/monitor/probes.yaml"
) -> Loaded:
    held = {"/etc/monitor/runbook.yaml": runbook, "runbook.yaml": runbook, **(files or {})}

    def read(name: str) -> str:
        if name not in held:
            raise FileNotFoundError(2, "No such file or directory")
        return held[name]

    return load(path, probes, types=discover(), env=ENV, read=read)


def probe(text: str) -> ProbeConfig:
    return load_text(PROBES + text).config.probes["bff"]


BFF = "  bff: {type: http, url: 'http://localhost:4000/health', %s}\n"


def test_a_probe_takes_its_times_from_the_defaults() -> None:
    bff = load_text(f"defaults: {{interval: 20s, fail_after: 2 of 5, retry_interval: 2s}}\n{PROBES}{BFF % ''}").config
    assert bff.probes["bff"].interval == 20.0
    assert bff.probes["bff"].timeout == 5.0
    assert bff.probes["bff"].fail_after == FailAfter(2, 5)
    assert bff.probes["bff"].retry_interval == 2.0


def test_a_probes_own_times_win() -> None:
    bff = probe(BFF % "interval: 1m, timeout: 250ms, fail_after: 1, recover_after: 3, retry_interval: 300ms")
    assert (bff.interval, bff.timeout, bff.retry_interval) == (60.0, 0.25, 0.3)
    assert (bff.fail_after, bff.recover_after) == (FailAfter(1, 1), 3)


def test_the_default_retry_is_never_longer_than_the_interval() -> None:
    assert probe(BFF % "interval: 500ms, timeout: 100ms").retry_interval == 0.5


def test_conditions_are_one_or_many() -> None:
    bff = probe(BFF % "warn: duration_seconds > 500ms, fail: [duration_seconds > 2s, 'phase_seconds[connect] > 1s']")
    assert bff.warn == (Condition("duration_seconds > 500ms", "duration_seconds", None, ">", 0.5),)
    assert [condition.why for condition in bff.fail] == ["duration_seconds", "phase_seconds[connect]"]


def test_the_outer_keys_become_the_configuration() -> None:
    loaded = load_text(
        PROBES + "store: sqlite:state.db\nlabels: {team: portal}\n"
        "web: {listen: '[::1]:8080', external_url: 'https://monitor.example.com/'}\n"
        "alertmanagers: [{url: 'http://127.0.0.1:9093/', username: me, password_file: am-password}]\n",
        files={"/etc/monitor/am-password": "CANARY-am\n"},
    )
    config = loaded.config
    assert (config.store, config.runbook) == ("/etc/monitor/state.db", "/etc/monitor/runbook.yaml")
    assert config.web == WebConfig("::1", 8080, "https://monitor.example.com")
    assert config.labels == {"team": "portal"}
    assert config.alertmanagers == (
        AlertmanagerConfig("http://127.0.0.1:9093", "me", "/etc/monitor/am-password", None, None),
    )
    assert "CANARY-am" in config.secrets
    assert loaded.files == ("/etc/monitor/probes.yaml", "/etc/monitor/am-password", "/etc/monitor/runbook.yaml")


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("sqlite:///var/lib/state.db", "/var/lib/state.db"),
        ("sqlite:////var/lib/state.db", "/var/lib/state.db"),
        ("sqlite:state.db", "/etc/monitor/state.db"),
        ("sqlite:data/state.db", "/etc/monitor/data/state.db"),
    ],
)
def test_the_store_is_absolute_or_beside_the_file(written: str, path: str) -> None:
    assert load_text(PROBES + f"store: {written}\n").config.store == path


def test_paths_are_as_relative_as_the_file_that_names_them() -> None:
    assert load_text(PROBES, path="probes.yaml").config.runbook == "runbook.yaml"


def test_passwords_are_known_for_scrubbing_as_written_and_decoded() -> None:
    assert load_text(PROBES).config.secrets == {"CANARY-p%40ss", "CANARY-p@ss"}


def test_an_address_without_a_password_is_no_secret() -> None:
    assert not load_text(PROBES.replace("${REDIS_URL}", "redis://cache:6379/1")).config.secrets


def test_a_secret_too_short_to_be_scrubbed_is_warned_of() -> None:
    loaded = load("p.yaml", PROBES, types=discover(), env={"REDIS_URL": "redis://:abc@h"}, read=lambda _: RUNBOOK)
    assert "p.yaml:3:29: probes.redis.url: a secret of under 4 characters is too short" in warnings_of(loaded)


def test_a_secret_comes_from_a_file_without_its_line_break() -> None:
    text = PROBES.replace("url: '${REDIS_URL}'", "url_file: secrets/redis")
    loaded = load_text(text, files={"/etc/monitor/secrets/redis": "redis://u:CANARY-file@h\r\n"})
    assert loaded.config.probes["redis"].options.model_dump()["url"].get_secret_value() == "redis://u:CANARY-file@h"
    assert loaded.config.secrets == {"CANARY-file"}


def test_a_password_put_into_an_address_by_a_variable_is_no_literal() -> None:
    loaded = load_text(PROBES.replace("${REDIS_URL}", "redis://:${PASSWORD}@cache:6379"))
    assert loaded.config.secrets == {"CANARY-word"}


def test_a_header_is_a_secret_when_it_comes_from_a_variable() -> None:
    loaded = load_text(PROBES + BFF % "headers: {Accept: text/html, Authorization: 'Bearer ${REDIS_URL}'}")
    assert "text/html" not in loaded.config.secrets
    assert ENV["REDIS_URL"] in loaded.config.secrets


def test_no_representation_shows_a_secret() -> None:
    loaded = load_text(PROBES)
    assert "CANARY" not in repr(loaded.config.probes)
    assert "CANARY" not in repr(loaded.runbook)


def test_what_a_validator_says_of_a_secret_is_blotted() -> None:
    with pytest.raises(ConfigError) as told:
        load("p.yaml", PROBES, types=discover(), env={"REDIS_URL": "CANARY-what is this"}, read=lambda _: RUNBOOK)
    assert "probes.redis.url" in str(told.value)
    assert "CANARY" not in str(told.value)


# --- the runbook -----------------------------------------------------------------------------------------------------


def runbook_of(rules: str, extra: str = "", probes: str = BFF % "checks: {cache: .checks.cache}") -> Loaded:
    return load_text(PROBES + probes, RUNBOOK.replace("- {severity: P2, any: [redis], for: 30s}", rules) + extra)


def test_terms_mean_what_they_say() -> None:
    loaded = runbook_of("- {severity: P2, any: [redis, redis@warn, redis@unknown, redis/oom, bff/cache@warn, bff/run]}")
    rule = loaded.runbook.scenarios["redis"].rules[0]
    assert rule.terms == (
        Term("redis", "probe", "redis"),
        Term("redis@warn", "probe", "redis", at=Level.WARN),
        Term("redis@unknown", "probe", "redis", at=Level.UNKNOWN),
        Term("redis/oom", "probe", "redis", "oom"),
        Term("bff/cache@warn", "probe", "bff", "cache", Level.WARN),
        Term("bff/run", "probe", "bff", "run"),
    )


def test_scenarios_come_after_those_they_speak_of() -> None:
    text = RUNBOOK.replace(
        "scenarios:\n",
        "scenarios:\n  down:\n    title: Down\n    rules: [{severity: P1, all: ['scenario:redis@P2', bff]}]\n",
    )
    runbook = load_text(PROBES + BFF % "", text).runbook
    assert list(runbook.scenarios) == ["redis", "down", OTHER]
    assert runbook.scenarios["down"].rules[0].terms[0] == Term(
        "scenario:redis@P2", "scenario", "redis", severity=Severity.P2
    )


def test_what_no_rule_names_opens_p3_and_is_warned_of() -> None:
    loaded = runbook_of("- {severity: P2, any: [redis@unknown, bff/cache]}")
    other = loaded.runbook.scenarios[OTHER].rules[0]
    assert (other.severity, other.mode) == (Severity.P3, "any")
    names = [term.text for term in other.terms]
    assert names[0] == "redis"
    assert {"bff/unreachable", "bff/timeout", "bff/status"} < set(names)
    assert not {"bff/cache", "bff/auth"} & set(names)
    warnings = [str(warning) for warning in loaded.warnings]
    assert any('no rule names the probe "redis": it opens P3 in "other"' in warning for warning in warnings)


def test_a_disabled_probe_keeps_its_name_and_opens_nothing() -> None:
    loaded = runbook_of("- {severity: P2, any: [redis, bff]}", probes=BFF % "enabled: false")
    assert not loaded.runbook.scenarios[OTHER].rules
    assert [probe.name for probe in loaded.config.enabled()] == ["redis"]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("warn: memory_used_ratio > 80", 'warn: "memory_used_ratio > 80" is 8000%; if 80% is meant, write "80%"'),
        ("warn: memory_used_ratio > 1", ""),
        ("warn: memory_used_ratio > 0.8", ""),
        ("fail: [ping_seconds > 80, memory_used_ratio >= 99.5]", 'fail[1]: "memory_used_ratio >= 99.5" is 9950%'),
        (
            "warn: hit_ratio < 5, clear: {warn: hit_ratio > 10}",
            'clear.warn: "hit_ratio > 10" is 1000%; if 10% is meant',
        ),
        (
            "warn: memory_used_ratio > 80%, fail: memory_used_ratio > 60%",
            'fail: it is reached before the warning "memory_used_ratio > 80%", which is never seen then',
        ),
        (
            "warn: hit_ratio < 50%, fail: [ping_seconds > 1s, hit_ratio <= 60%]",
            "fail[1]: it is reached before the warn",
        ),
        ("warn: hit_ratio < 50%, fail: hit_ratio < 20%", ""),
        ("warn: memory_used_ratio > 80%, fail: memory_used_ratio < 1%", ""),
        ("warn: memory_used_ratio > 80%, fail: memory_used_ratio > 80%", ""),
    ],
)
def test_a_limit_that_cannot_be_meant_so_is_warned_of(limits: str, said: str) -> None:
    told = warnings_of(load_text(PROBES.replace("type: redis,", f"type: redis, {limits},")))
    assert (f"probes.redis.{said}" in told) if said else "probes.redis" not in told


def test_a_ratio_that_may_be_more_than_the_whole_is_not_warned_of() -> None:
    log = "  log: {type: log, path: /var/log/x, window: 5m, warn: traffic_ratio > 10}\n"
    process = "  node: {type: process, pattern: node, warn: cpu_ratio > 4}\n"
    assert "%" not in warnings_of(load_text(PROBES + log + process))


def warnings_of(loaded: Loaded) -> str:
    return "\n".join(str(warning) for warning in loaded.warnings)


def test_a_reason_that_is_ours_cannot_fail_and_is_warned_of() -> None:
    loaded = runbook_of("- {severity: P2, any: [redis, redis/auth, bff]}")
    assert '"auth" makes redis unknown, not fail; write redis@unknown' in warnings_of(loaded)


def test_a_why_that_only_warns_is_warned_of() -> None:
    loaded = runbook_of(
        "- {severity: P2, any: [redis, bff, bff/duration_seconds]}", probes=BFF % "warn: duration_seconds > 1s"
    )
    assert 'bff only warns for "duration_seconds"; write bff/duration_seconds@warn' in warnings_of(loaded)


def test_the_second_level_before_the_first_is_late_is_told_once() -> None:
    text = RUNBOOK.replace("scenarios:", "  L2: {to: Lead, severity: [P1, P2], unresolved: 30m}\nscenarios:")
    told = [str(warning) for warning in load_text(PROBES, text).warnings if "two clocks" in str(warning)]
    assert len(told) == 1
    assert told[0] == (
        "/etc/monitor/runbook.yaml:8:3: escalation.L2: hears of a P2 before its response time has passed "
        "(30m, response time 1h); taken literally, as two clocks of their own"
    )


def test_placeholders_of_contacts_are_told() -> None:
    loaded = runbook_of("- {severity: P2, any: [redis, bff]}", 'contacts: {lead: {method: "[Slack]", backup: me}}\n')
    assert "contacts.lead: still a placeholder: [Slack]; write how they are reached" in warnings_of(loaded)


def test_a_configuration_that_tells_nobody_is_warned_of() -> None:
    assert "no alertmanagers: nobody is paged" in warnings_of(load_text(PROBES))


def test_problems_of_both_files_come_at_once() -> None:
    with pytest.raises(ConfigError) as told:
        load_text(PROBES + "lables: {}\n", RUNBOOK.replace("any: [redis]", "any: [reddis]"))
    assert [problem.file.rpartition("/")[2] for problem in told.value.problems] == ["probes.yaml", "runbook.yaml"]


def test_without_a_calendar_people_work_from_monday_to_friday_in_utc() -> None:
    assert load_text(PROBES).config.calendar == Calendar()


@pytest.mark.parametrize(
    "written, days",
    [
        ("Mon-Fri", {0, 1, 2, 3, 4}),
        ("[Sun, Mon-Wed]", {6, 0, 1, 2}),
        ("Sun-Thu", {6, 0, 1, 2, 3}),
        ("sat, Sun", {5, 6}),
        ("Fri-Fri", {4}),
    ],
)
def test_a_calendar_says_when_people_work(written: str, days: set[int]) -> None:
    text = f"calendar: {{tz: Asia/Tokyo, workdays: '{written}', holidays: [2026-12-31], hours: '10:00-19:30'}}\n"
    text = text.replace("'[", "[").replace("]'", "]")
    found = load_text(PROBES + text).config.calendar
    assert found == Calendar(
        ZoneInfo("Asia/Tokyo"), frozenset(days), frozenset({date(2026, 12, 31)}), time(10), time(19, 30)
    )


MAINTENANCE = """\
calendar: {tz: Asia/Tokyo}
maintenance:
  - {of: [redis, scenario:redis, other], once: 2026-12-01T02:00, for: 2h, reason: a new disk}
  - {of: redis, cron: "0 3 * * sun", zone: Europe/Berlin, for: 30m, reason: weekly restart}
"""


def test_planned_maintenance_is_of_probes_first_and_by_the_clocks_of_the_calendar() -> None:
    once, weekly = load_text(PROBES + MAINTENANCE).config.maintenance
    assert (once.of, weekly.of) == (("redis", "scenario:redis", "scenario:other"), ("redis",))
    begins = datetime(2026, 11, 30, 17, tzinfo=UTC).timestamp()
    window = once.window(begins + 3600)
    assert window is not None
    assert (window.starts_at, window.ends_at, window.reason) == (begins, begins + 7200, "a new disk")
    following = weekly.next_window(begins)
    assert following is not None
    assert following.starts_at == datetime(2026, 12, 6, 2, tzinfo=UTC).timestamp()
    assert once.key != weekly.key


def test_who_carries_what_alertmanager_does_not_take() -> None:
    command = load_text(PROBES + "fallback: {after: 2m, command: [/usr/local/bin/call, --now]}\n").config.fallback
    assert command is not None
    assert (command.after, command.command, command.webhook) == (120.0, ("/usr/local/bin/call", "--now"), None)
    found = load_text(
        PROBES + "fallback: {webhook_file: hook}\n", files={"/etc/monitor/hook": "https://x/CANARY-y\n"}
    ).config
    assert found.fallback is not None
    assert found.fallback.webhook is not None
    assert (found.fallback.after, found.fallback.webhook.get_secret_value()) == (60.0, "https://x/CANARY-y")
    assert "https://x/CANARY-y" in found.secrets
    assert load_text(PROBES).config.fallback is None


def test_the_address_of_the_heartbeat_is_a_secret() -> None:
    text = PROBES + "heartbeat: {url: '${PASSWORD_URL}', every: 30s}\n"
    with pytest.raises(ConfigError, match="PASSWORD_URL"):
        load_text(text)
    found = load_text(text.replace("'${PASSWORD_URL}'", "'${HOOK}'")).config
    assert found.heartbeat is not None
    assert (found.heartbeat.url.get_secret_value(), found.heartbeat.every) == ("https://example.com/CANARY-hook", 30.0)
    assert "https://example.com/CANARY-hook" in found.secrets
    assert "CANARY" not in repr(found.heartbeat)


def test_the_same_file_makes_the_same_configuration() -> None:
    text = PROBES + MAINTENANCE + "fallback: {command: [call]}\nheartbeat: {url: '${HOOK}'}\n"
    first, second = load_text(text).config, load_text(text).config
    for key in ("alertmanagers", "labels", "calendar", "maintenance", "fallback", "heartbeat"):
        assert getattr(first, key) == getattr(second, key), key  # a reload names what has changed, and nothing else
