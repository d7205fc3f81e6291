"""The client against a real Alertmanager with a real webhook behind it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from structlog.testing import capture_logs

from monitor.alerting.alertmanager import Alert, AlertmanagerError, Notifier
from monitor.clock import SystemClock
from monitor.core.config import AlertmanagerConfig
from tests.alerting.conftest import MakeAlertmanager
from tests.alertmanager import Alertmanager, Webhook
from tests.replies import Certificates, hangs, http, says, serving
from tests.servers import free_port

RESEND = 0.2


class Shifted(SystemClock):
    """A clock that goes wrong by so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self) -> float:
        return super().now() + self.seconds


def page(incident: str, level: str = "L1", *, ended: bool = False, **changes: Any) -> Alert:
    labels = {
        "alertname": "Redis",
        "incident": incident,
        "severity": "P2",
        "escalation_level": level,
        "vendor": "none",
        "kind": "page",
        "source": "push",
    }
    values = {"labels": labels, "annotations": {"title": "Redis is down"}, "starts_at": time.time() - 5, **changes}
    return Alert(**{"ends_at": time.time() if ended else None, **values})


def notifier(*urls: str, resend_seconds: float = RESEND, clock: SystemClock | None = None, **more: Any) -> Notifier:
    config = [AlertmanagerConfig(url) for url in urls]
    return Notifier(config, clock or SystemClock(), resend_seconds=resend_seconds, **more)


@asynccontextmanager
async def running(client: Notifier) -> AsyncIterator[Notifier]:
    """Deliver until the end of the block, which is a daemon's sudden end as well: nothing is drained or resolved."""
    task = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        assert not task.done(), "nothing may end the deliveries"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(holds: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.01)


async def delivered(client: Notifier, *alerts: Alert) -> None:
    await eventually(lambda: all(client.delivered(one.fingerprint) for one in alerts))


def value(client: Notifier, name: str, **labels: str) -> float | None:
    """One sample of the client's metrics, None if it is absent."""
    samples = next(one.samples for one in client.families() if one.name == name)
    return next((number for of, number in samples if dict(of) == labels), None)


def held(server: Alertmanager, incident: str) -> list[dict[str, Any]]:
    return server.alerts(f'incident="{incident}"')


async def told(webhook: Webhook, status: str, **labels: str) -> None:
    await asyncio.to_thread(webhook.wait_for_alert, status, **labels)


async def test_a_page_reaches_people_at_once(alertmanager: Alertmanager, webhook: Webhook, incident: str) -> None:
    async with running(notifier(alertmanager.url)) as client:
        began = time.time()
        client.set([page(incident)])
        await told(webhook, "firing", incident=incident)
    assert webhook.of("firing", incident=incident)[0].at - began < 2.0


async def test_an_incident_ends_with_exactly_one_resolved(
    alertmanager: Alertmanager, webhook: Webhook, incident: str
) -> None:
    started, seen = time.time() - 5, []
    async with running(notifier(alertmanager.url, on_delivered=lambda alert, at: seen.append(alert.firing))) as client:
        client.set([page(incident, starts_at=started)])
        await told(webhook, "firing", incident=incident)
        await delivered(client, page(incident))
        ended = page(incident, ended=True, starts_at=started)
        client.set([ended])
        assert client.delivered(ended.fingerprint) is None, "its end is news"
        await told(webhook, "resolved", incident=incident)
        sent = value(client, "portal_monitor_notifications_total", alertmanager=alertmanager.url) or 0
        await eventually(
            lambda: (
                (value(client, "portal_monitor_notifications_total", alertmanager=alertmanager.url) or 0) >= sent + 3
            )
        )
    assert (len(webhook.of("firing", incident=incident)), len(webhook.of("resolved", incident=incident))) == (1, 1)
    assert seen == [True, False], "the repetitions are no deliveries"


async def test_what_ended_fires_again(alertmanager: Alertmanager, webhook: Webhook, incident: str) -> None:
    started = time.time() - 5
    async with running(notifier(alertmanager.url)) as client:
        client.set([page(incident, starts_at=started)])
        await told(webhook, "firing", incident=incident)
        client.set([page(incident, starts_at=started, ended=True)])
        await told(webhook, "resolved", incident=incident)
        client.set([page(incident, starts_at=time.time())])
        await eventually(lambda: len(webhook.of("firing", incident=incident)) == 2)
        assert len(held(alertmanager, incident)) == 1


async def test_the_pages_of_an_incident_go_together_though_one_alone_is_new(incident: str) -> None:
    first, second, other = page(incident), page(incident, "L2"), page("other")
    async with serving(says(http())) as server, running(notifier(server.url(""), resend_seconds=3600)) as client:
        client.set([first, other])
        await delivered(client, first)
        client.set([first, second, other])
        await delivered(client, second)
    sent = json.loads(server.requests[-1].partition(b"\r\n\r\n")[2])
    assert [one["labels"] for one in sent] == [first.labels, second.labels]


@pytest.mark.parametrize(
    "poison", [{"generator_url": "http://monitor.example.com/%zz"}, {"bad-name": "x"}], ids=["422", "400"]
)
async def test_a_poisoned_alert_takes_no_other_with_it(
    alertmanager: Alertmanager, incident: str, poison: dict[str, str]
) -> None:
    bad = page(incident, "L9", generator_url=poison.get("generator_url", ""))
    if "bad-name" in poison:
        bad = page(incident, labels={**page(incident).labels, **poison})
    good = [page(incident, f"L{number}") for number in range(1, 6)]
    with capture_logs() as logs:
        async with running(notifier(alertmanager.url)) as client:
            client.set([*good[:2], bad, *good[2:]])
            await delivered(client, *good)
            await eventually(lambda: (invalid(client, alertmanager) or 0) >= 2)
            assert client.delivered(bad.fingerprint) is None
            assert client.oldest_undelivered_seconds > 0
    assert {one["labels"]["escalation_level"] for one in held(alertmanager, incident)} >= {f"L{n}" for n in range(1, 6)}
    assert [one["event"] for one in logs].count("alert_refused") == 1, "said once, tried again and again"


def invalid(client: Notifier, server: Alertmanager) -> float | None:
    return value(client, "portal_monitor_notifications_invalid_total", alertmanager=server.url)


async def test_an_alert_that_cannot_be_written_takes_no_other_with_it(
    alertmanager: Alertmanager, incident: str
) -> None:
    bad, good = page(incident, "L2", starts_at=float("inf")), page(incident)
    async with running(notifier(alertmanager.url)) as client:
        client.set([bad, good])
        await delivered(client, good)
        assert invalid(client, alertmanager)


async def test_an_alertmanager_that_forgot_everything_is_told_again(
    make_alertmanager: MakeAlertmanager, webhook: Webhook, incident: str
) -> None:
    server, resend = make_alertmanager(), 0.5
    async with running(notifier(server.url, resend_seconds=resend)) as client:
        client.set([page(incident)])
        await told(webhook, "firing", incident=incident)
        await asyncio.to_thread(server.settle)
        await asyncio.to_thread(server.stop)
        await eventually(lambda: value(client, "portal_monitor_notifications_failed_total", alertmanager=server.url))
        await asyncio.to_thread(server.start)
        began = time.monotonic()
        await eventually(lambda: held(server, incident))
        assert time.monotonic() - began < resend + 1.5
    assert len(webhook.of("firing", incident=incident)) == 1, "Alertmanager knows whom it notified"
    assert not webhook.of("resolved", incident=incident)


async def test_a_resolve_that_fell_into_an_outage_is_told_afterwards(
    make_alertmanager: MakeAlertmanager, webhook: Webhook, incident: str
) -> None:
    server, started = make_alertmanager(), time.time() - 5
    async with running(notifier(server.url)) as client:
        client.set([page(incident, starts_at=started)])
        await told(webhook, "firing", incident=incident)
        await asyncio.to_thread(server.settle)
        await asyncio.to_thread(server.stop)
        client.set([page(incident, starts_at=started, ended=True)])
        client.set([])  # the store has forgotten it before Alertmanager is back
        await asyncio.to_thread(server.start)
        await told(webhook, "resolved", incident=incident)
    assert len(webhook.of("resolved", incident=incident)) == 1


async def test_one_that_is_dead_and_one_that_hangs_delay_nobody(
    alertmanager: Alertmanager, webhook: Webhook, incident: str
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with serving(hangs) as silent, running(notifier(dead, silent.url(), alertmanager.url)) as client:
        began = time.time()
        client.set([page(incident)])
        await told(webhook, "firing", incident=incident)
        await delivered(client, page(incident))
        assert client.oldest_undelivered_seconds == 0
        assert value(client, "portal_monitor_notifications_last_success_timestamp_seconds", alertmanager=dead) is None
        assert client.delivered_everywhere(page(incident).fingerprint), "everywhere that can be reached"
    assert webhook.of("firing", incident=incident)[0].at - began < 2.0


async def test_with_nobody_to_tell_the_wait_is_shown(incident: str) -> None:
    async with running(notifier(f"http://127.0.0.1:{free_port()}")) as client:
        client.set([page(incident)])
        await eventually(lambda: client.oldest_undelivered_seconds > 0.05)
        assert value(client, "portal_monitor_oldest_undelivered_seconds") == pytest.approx(
            client.oldest_undelivered_seconds, abs=1
        )
        assert not client.delivered_everywhere(page(incident).fingerprint)


@pytest.mark.parametrize("seconds", [-86400, 86400], ids=["slow", "fast"])
async def test_a_wrong_clock_loses_no_page_and_no_end(
    alertmanager: Alertmanager, webhook: Webhook, incident: str, seconds: float
) -> None:
    clock = Shifted(seconds)
    started = clock.now() - 5
    async with running(notifier(alertmanager.url, clock=clock)) as client:
        client.set([page(incident, starts_at=started, lease_seconds=300)])
        await told(webhook, "firing", incident=incident)
        await delivered(client, page(incident))
        skew = value(client, "portal_monitor_alertmanager_clock_skew_seconds", alertmanager=alertmanager.url)
        assert skew == pytest.approx(-seconds, abs=2)
        found = await client.held(f'incident="{incident}"')
        assert found[0].ends_at > clock.now(), "in the time of our clock"
        client.set([page(incident, starts_at=started, lease_seconds=300, ends_at=clock.now())])
        await told(webhook, "resolved", incident=incident)


async def test_a_killed_daemon_resolves_nothing(alertmanager: Alertmanager, webhook: Webhook, incident: str) -> None:
    async with running(notifier(alertmanager.url)) as client:
        client.set([page(incident)])
        await told(webhook, "firing", incident=incident)
    async with running(notifier(alertmanager.url)) as again:
        again.set([page(incident)])
        await delivered(again, page(incident))
    ends = [one["endsAt"] for one in held(alertmanager, incident)]
    assert ends > [time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 11.9 * 3600))]
    assert (len(webhook.of("firing", incident=incident)), webhook.of("resolved", incident=incident)) == (1, [])


async def test_a_removed_alertmanager_is_sent_the_resolves_first(
    alertmanager: Alertmanager, make_alertmanager: MakeAlertmanager, incident: str
) -> None:
    old = make_alertmanager()
    async with running(notifier(old.url)) as client:
        client.set([page(incident)])
        await delivered(client, page(incident))
        client.reconfigure([AlertmanagerConfig(alertmanager.url)])
        await eventually(lambda: held(alertmanager, incident) and not held(old, incident))
        await eventually(lambda: value(client, "portal_monitor_notifications_total", alertmanager=old.url) is None)
        client.reconfigure([AlertmanagerConfig(alertmanager.url), AlertmanagerConfig(old.url)])
        await eventually(lambda: held(old, incident))


async def test_one_that_is_wanted_back_while_it_leaves_just_stays(alertmanager: Alertmanager, incident: str) -> None:
    async with running(notifier(alertmanager.url)) as client:
        client.set([page(incident)])
        await delivered(client, page(incident))
        client.reconfigure([])
        client.reconfigure([AlertmanagerConfig(alertmanager.url)])
        sent = value(client, "portal_monitor_notifications_total", alertmanager=alertmanager.url) or 0
        await eventually(
            lambda: (value(client, "portal_monitor_notifications_total", alertmanager=alertmanager.url) or 0) > sent + 1
        )
        assert held(alertmanager, incident)


async def test_a_rotated_password_is_picked_up_and_never_shown(
    make_alertmanager: MakeAlertmanager, incident: str, tmp_path: Path
) -> None:
    right, wrong = "canary-right-1", "canary-wrong-2"
    hashed = bcrypt.hashpw(right.encode(), bcrypt.gensalt(4)).decode()
    server = make_alertmanager(web_config=json.dumps({"basic_auth_users": {"monitor": hashed}}))
    file = tmp_path / "password"
    file.write_text(wrong)
    config = AlertmanagerConfig(server.url, username="monitor", password_file=str(file))
    client = Notifier([config], SystemClock(), resend_seconds=RESEND)
    with capture_logs() as logs:
        async with running(client):
            client.set([page(incident)])
            await eventually(lambda: any(one["event"] == "alertmanager_refuses_us" for one in logs))
            file.unlink()
            await eventually(lambda: any("No such file" in str(one) for one in logs))
            file.write_text(f"{right}\n")
            await delivered(client, page(incident))
            assert [one.labels["incident"] for one in await client.held()] == [incident]
    shown = f"{logs} {client.families()} {client!r}"
    assert right not in shown
    assert wrong not in shown


@pytest.mark.parametrize("token", ["canary\ntoken", "canary-tökèn"])
async def test_a_token_that_is_no_header_is_not_shown(token: str, tmp_path: Path, incident: str) -> None:
    file = tmp_path / "token"
    file.write_text(token)
    async with serving(says(http())) as server:
        config = AlertmanagerConfig(server.url(""), bearer_token_file=str(file))
        with capture_logs() as logs:
            async with running(Notifier([config], SystemClock(), resend_seconds=RESEND)) as client:
                client.set([page(incident)])
                await eventually(lambda: logs)
    assert "canary" not in str(logs)
    assert [one["event"] for one in logs] == ["alertmanager_refuses_us"]


async def test_only_a_certificate_of_the_given_authority_is_trusted(tmp_path: Path, incident: str) -> None:
    certificates = Certificates(tmp_path)
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    file = Certificates(other_folder).ca_file
    async with serving(says(http()), tls=certificates.server()) as server:
        url = server.url("", scheme="https")
        client = Notifier([AlertmanagerConfig(url, ca_file=str(file))], SystemClock(), resend_seconds=RESEND)
        with capture_logs() as logs:
            async with running(client):
                client.set([page(incident)])
                await eventually(lambda: any("CERTIFICATE_VERIFY_FAILED" in str(one) for one in logs))
                assert server.requests == []
                file.write_bytes(certificates.ca_file.read_bytes())
                await delivered(client, page(incident))


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        pytest.param(
            http("<html>Please log in</html>", headers={"Content-Type": "text/html"}), "refuses_us", id="login"
        ),
        pytest.param(http(status=302, headers={"Location": "http://127.0.0.1:1/"}), "refuses_us", id="redirect"),
        pytest.param(http("no such page", 404), "refuses_us", id="wrong prefix"),
        pytest.param(http("busy", 503), "unreachable", id="busy"),
        pytest.param(http("slow down", 429, headers={"Retry-After": "3600"}), "unreachable", id="Retry-After"),
    ],
)
async def test_what_was_not_taken_is_tried_again(answer: bytes, event: str, incident: str) -> None:
    async with serving(says(answer, answer, http())) as server:
        with capture_logs() as logs:
            async with running(notifier(server.url(""))) as client:
                client.set([page(incident)])
                await delivered(client, page(incident))
    assert len(server.requests) == 3
    assert f"alertmanager_{event}" in [one["event"] for one in logs]


async def test_a_new_page_does_not_wait_for_an_earlier_failure_to_be_forgiven(incident: str) -> None:
    answers = says(http("no such page", 404), http())
    async with serving(answers) as server, running(notifier(server.url(""), resend_seconds=3600)) as client:
        client.set([page("first")])
        await eventually(
            lambda: value(client, "portal_monitor_notifications_failed_total", alertmanager=server.url(""))
        )
        client.set([page("first"), page(incident)])
        await delivered(client, page("first"), page(incident))


async def test_many_alerts_go_in_bodies_of_bounded_size() -> None:
    long = {f"text{number}": "ä" * 5000 for number in range(4)}
    alerts = [page(f"storm-{number}", annotations=long) for number in range(300)]
    async with serving(says(http())) as server, running(notifier(server.url(""), resend_seconds=3600)) as client:
        client.set([*alerts, *(page(f"calm-{number}") for number in range(600))])
        await delivered(client, *alerts)
        await eventually(lambda: not any(lane.ledger.behind() for lane in client._lanes.values()))
    bodies = [asked.partition(b"\r\n\r\n")[2] for asked in server.requests]
    assert max(len(body) for body in bodies) <= 2**20
    assert max(len(json.loads(body)) for body in bodies) <= 256
    assert sum(len(json.loads(body)) for body in bodies) == 900
    assert len(bodies) < 12


async def test_what_is_held_comes_with_who_silenced_it(
    alertmanager: Alertmanager, make_alertmanager: MakeAlertmanager, incident: str
) -> None:
    other = make_alertmanager()
    started = time.time() - 100
    dead = f"http://127.0.0.1:{free_port()}"
    async with running(notifier(alertmanager.url, other.url, dead)) as client:
        client.set([page(incident, starts_at=started)])
        await eventually(lambda: client.delivered_everywhere(page(incident).fingerprint) and held(other, incident))
        silence = await asyncio.to_thread(lambda: other.silence(by="hanako", incident=incident))
        await eventually(lambda: held(other, incident)[0]["status"]["silencedBy"])
        (found,) = await client.held(f'incident="{incident}"')
    assert found.labels == page(incident).labels
    assert found.starts_at == pytest.approx(started, abs=0.01)
    assert found.ends_at > time.time() + 11 * 3600
    assert [(one.id, one.created_by, one.comment) for one in found.silences] == [(silence, "hanako", "acknowledged")]


@pytest.mark.parametrize("answer", [http("[1]"), http("<p>", headers={"Content-Type": "text/html"}), http("", 500)])
async def test_to_hold_nothing_is_not_the_same_as_not_to_answer(answer: bytes) -> None:
    async with serving(says(answer)) as server:
        client = notifier(server.url(""))
        with pytest.raises(AlertmanagerError, match=r"127\.0\.0\.1"):
            await client.held()
        await client.close()
    async with serving(says(http("[]"))) as server:
        client = notifier(server.url(""))
        assert await client.held() == []
        await client.close()


async def test_draining_gives_what_is_new_a_last_chance_and_resolves_nothing(
    alertmanager: Alertmanager, incident: str
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with running(notifier(dead, alertmanager.url, resend_seconds=3600)) as client:
        client.set([page(incident)])
        began = time.monotonic()
        assert not await client.drain(5), "the dead one"
        assert time.monotonic() - began < 2, "and it is not waited for"
        assert client.delivered(page(incident).fingerprint)
    assert held(alertmanager, incident)


async def test_draining_with_nobody_there_ends_in_time(incident: str) -> None:
    async with running(notifier(f"http://127.0.0.1:{free_port()}")) as client:
        client.set([page(incident)])
        began = time.monotonic()
        assert not await client.drain(0.1)
        assert time.monotonic() - began < 1


async def test_a_listener_that_fails_stops_no_delivery(alertmanager: Alertmanager, incident: str) -> None:
    def fails(alert: Alert, at: float) -> None:
        raise RuntimeError("a bug")

    async with running(notifier(alertmanager.url, on_delivered=fails)) as client:
        with capture_logs() as logs:
            client.set([page(incident), page(incident, "L2")])
            await delivered(client, page(incident), page(incident, "L2"))
    assert [one["event"] for one in logs if one["log_level"] == "error"] == ["on_delivered_failed"] * 2


def test_the_metrics_begin_at_zero_and_show_no_password() -> None:
    client = notifier("https://monitor:canary@am.example.com:9093/prefix/?x=1")
    name = "https://am.example.com:9093/prefix"
    assert value(client, "portal_monitor_notifications_total", alertmanager=name) == 0
    assert value(client, "portal_monitor_notifications_failed_total", alertmanager=name) == 0
    assert value(client, "portal_monitor_notifications_last_success_timestamp_seconds", alertmanager=name) is None
    assert value(client, "portal_monitor_oldest_undelivered_seconds") == 0
    assert "canary" not in str(client.families())


@pytest.mark.parametrize("urls", [["am:9093"], ["http://"], ["ftp://am"]], ids=str)
def test_an_address_that_is_none_is_refused(urls: Sequence[str]) -> None:
    with pytest.raises(ValueError, match="http"):
        notifier(*urls)
