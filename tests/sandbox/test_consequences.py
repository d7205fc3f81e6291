"""What breaks with a broken part: the BFF's answers and its log under each outage, with everything else well."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml
from redis import Redis

from monitor.sandbox import remote
from monitor.sandbox.bff import REPLAY_KEY
from monitor.sandbox.outages import OUTAGES
from tests.sandbox.started import Sandbox
from tests.servers import wait_until

LOGIN = ("/api/auth/login", b"right")
PAGES = ("/api/auth/me", "/api/dashboard", "/api/catalog", "/api/billing/invoices", "/api/sims/usage", "/api/orders")


@pytest.fixture(scope="module")
def up(servers_folder: Path) -> Iterator[Sandbox]:
    """One portal for all outages, one after the other; nobody watches it here."""
    sandbox = Sandbox(servers_folder / "consequences", "--no-daemon")
    sandbox.start()
    yield sandbox
    assert sandbox.end() == 0
    said = sandbox.said()
    assert "Traceback" not in said, said
    assert (sandbox.folder / "logs/bff.out").read_text() == ""


@pytest.fixture
def portal(up: Sandbox) -> Iterator[Sandbox]:
    """The portal, well before and after."""
    yield up
    wait_until(lambda: all_is_well(up), what="a portal that is well again")


def all_is_well(portal: Sandbox) -> bool:
    answers = [portal.status(path) for path in ("/health", *PAGES)]
    return answers == [200] * len(answers) and portal.status(*LOGIN) == 200


@contextmanager
def during(portal: Sandbox, outage: str) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """While this is broken: a function that gives the lines logged since."""
    since = portal.position()
    with portal.broken(outage):
        yield lambda: portal.lines(since)


def health(portal: Sandbox) -> tuple[int, dict[str, str]]:
    answer = portal.ask("/health")
    return answer.status_code, answer.json()["checks"]


def errored(lines: list[dict[str, Any]], url: str, status: int) -> list[dict[str, Any]]:
    """The request lines of this URL with this status."""
    return [
        line for line in lines
        if "responseTime" in line and line["req"]["url"] == url and line["res"]["statusCode"] == status
    ]  # fmt: skip


def addresses(portal: Sandbox) -> dict[str, Any]:
    """The monitor's probes, with the addresses it knows."""
    probes: dict[str, Any] = yaml.safe_load((portal.folder / "probes.yaml").read_text())["probes"]
    return probes


def test_a_portal_that_is_well_answers_everything(portal: Sandbox) -> None:
    assert all_is_well(portal)
    assert portal.status("/") == 200
    assert portal.status("/api/orders/new", b"") == 200
    assert health(portal) == (200, {"database": "ok", "cache": "ok"})
    queues = portal.ask("/health/queues").json()
    assert queues["whmcs"]["health"] == "healthy"
    assert queues["salesforce"]["dailyUsage"]["used"] > 0


def test_customers_make_twenty_to_thirty_requests_a_second_and_none_fails(portal: Sandbox) -> None:
    def requests() -> list[dict[str, Any]]:
        return [line for line in portal.lines() if "responseTime" in line]

    wait_until(lambda: len(requests()) > 60, what="traffic")
    seen = requests()
    seconds = (seen[-1]["time"] - seen[0]["time"]) / 1000
    assert 10 < len(seen) / seconds < 60
    assert {line["res"]["statusCode"] for line in seen} == {200}


def test_without_redis_nobody_signs_in_and_the_rest_goes_on(portal: Sandbox) -> None:
    with during(portal, "redis") as lines:
        assert portal.status(*LOGIN) == 500
        assert portal.status("/api/dashboard") == 200
        assert portal.status("/api/catalog") == 200
        assert health(portal) == (503, {"database": "ok", "cache": "fail"})
        failed = errored(lines(), "/api/auth/login", 500)[0]
        twins = [line for line in lines() if line.get("req", {}).get("id") == failed["req"]["id"]]
        assert [(line["level"], line.get("context")) for line in twins] == [(50, "ExceptionsHandler"), (30, None)]


def test_a_full_redis_answers_reads_and_refuses_sign_in(portal: Sandbox) -> None:
    with during(portal, "redis-memory") as lines:
        with Redis.from_url(addresses(portal)["redis"]["url"]) as client:
            assert client.ping()
        assert portal.status(*LOGIN) == 500
        assert portal.status("/api/dashboard") == 200
        assert health(portal) == (503, {"database": "ok", "cache": "fail"})
        # Of other visitors' requests some may have begun in an earlier outage.
        assert any("OOM" in line["err"]["message"] for line in errored(lines(), "/api/auth/login", 500))


def test_without_the_database_every_request_fails(portal: Sandbox) -> None:
    with during(portal, "postgres") as lines:
        assert [portal.status(path) for path in PAGES] == [500] * len(PAGES)
        assert portal.status("/") == 200
        assert health(portal) == (503, {"database": "fail", "cache": "ok"})
        assert errored(lines(), "/api/dashboard", 500)[0]["err"]["code"] == "P1001"


def test_without_free_slots_new_connections_fail_and_held_ones_work(portal: Sandbox) -> None:
    url = (portal.folder / addresses(portal)["postgres"]["url_file"]).read_text()
    with psycopg.connect(url, autocommit=True) as held, during(portal, "postgres-connections") as lines:
        with pytest.raises(psycopg.OperationalError, match=r"connection slots|too many clients"):
            psycopg.connect(url)
        used = held.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'").fetchone()
        assert used
        assert used[0] >= 27
        assert portal.status("/api/orders/new", b"") == 500
        assert portal.status("/api/dashboard") == 200
        assert health(portal) == (200, {"database": "ok", "cache": "ok"})
        assert errored(lines(), "/api/orders/new", 500)[0]["err"]["code"] == "P2037"


@pytest.mark.parametrize("outage, url, vendor, said", [
    ("whmcs", "/api/billing/invoices", "WHMCS", ""),
    ("whmcs-maintenance", "/api/billing/invoices", "WHMCS", ""),
    ("whmcs-credentials", "/api/billing/invoices", "WHMCS", "Authentication Failed"),
    ("salesforce", "/api/orders", "Salesforce", ""),
    ("freebit", "/api/sims/usage", "Freebit", ""),
])  # fmt: skip
def test_without_a_vendor_only_its_pages_fail(portal: Sandbox, outage: str, url: str, vendor: str, said: str) -> None:
    with during(portal, outage) as lines:
        assert portal.status(url) == 503
        assert portal.status("/api/dashboard") == 200
        assert health(portal)[0] == 200
        failed = [line for line in lines() if line["msg"].startswith(vendor) and line["msg"].endswith("failed")]
        assert failed[0]["level"] == 50
        assert said in failed[0]["context"]["error"]
        assert isinstance(failed[0]["context"]["duration"], int)
        assert errored(lines(), url, 503)[0]["level"] == 30


def whmcs_says(portal: Sandbox) -> httpx.Response:
    """What the monitor is answered, with the portal's credentials."""
    probe = addresses(portal)["whmcs"]
    who = {name: (portal.folder / probe[f"{name}_file"]).read_text() for name in ("identifier", "secret")}
    fields = {**who, "action": "WhmcsDetails", "responsetype": "json"}
    return httpx.post(probe["url"], data=fields, trust_env=False, verify=False)


def test_an_address_that_whmcs_no_longer_allows_is_the_monitors_alone(portal: Sandbox) -> None:
    assert whmcs_says(portal).json()["result"] == "success"
    with portal.broken("whmcs-ip"):
        refused = whmcs_says(portal)
        assert (refused.status_code, refused.json()["message"]) == (403, "Invalid IP 203.0.113.9")
        assert portal.status("/api/billing/invoices") == 200


def test_a_cut_way_out_blinds_the_monitor_and_hurts_nobody(portal: Sandbox) -> None:
    probes = addresses(portal)
    salesforce = f"{probes['salesforce']['instance_url']}/services/data/"
    with portal.broken("egress"):
        for url in (f"http://{probes['egress']['target']}", probes["whmcs"]["url"], salesforce):
            with pytest.raises(httpx.ConnectError):
                httpx.get(url, trust_env=False, verify=False)
        assert all_is_well(portal)
    assert httpx.get(salesforce, trust_env=False, verify=False).json()[0]["version"]


def test_latency_makes_every_page_slow_and_the_health_page_not(portal: Sandbox) -> None:
    with during(portal, "latency") as lines:
        wait_until(lambda: any(line.get("responseTime", 0) > 2000 for line in lines()), what="a slow request")
        assert portal.ask("/health").elapsed.total_seconds() < 1


def test_errors_fail_a_tenth_of_the_requests(portal: Sandbox) -> None:
    with during(portal, "errors") as lines:

        def statuses() -> list[int]:
            return [line["res"]["statusCode"] for line in lines() if "responseTime" in line]

        wait_until(lambda: len(statuses()) > 60, what="traffic")
        assert 1 <= statuses().count(500) < len(statuses()) / 2


def test_failing_logins_come_from_many_addresses_and_fail_no_request(portal: Sandbox) -> None:
    with during(portal, "logins") as lines:

        def refused() -> list[dict[str, Any]]:
            return errored(lines(), "/api/auth/login", 401)

        wait_until(lambda: len(refused()) > 20, what="failing logins")
        assert len({line["req"]["headers"]["x-forwarded-for"] for line in refused()}) > 10
        said = [line for line in lines() if line["msg"].startswith("Login failed")]
        assert {line["level"] for line in said} == {40}
        assert not [line for line in lines() if line.get("res", {}).get("statusCode", 0) >= 500]


def test_without_events_the_replay_id_stands_still_while_orders_wait(portal: Sandbox) -> None:
    with Redis.from_url(addresses(portal)["redis"]["url"]) as client:
        first = client.get(REPLAY_KEY)
        wait_until(lambda: client.get(REPLAY_KEY) != first, what="an event")
        with portal.broken("events"):
            wait_until(lambda: remote.status(portal.folder)["orders_waiting"] > 0, what="a waiting order")
            frozen = client.get(REPLAY_KEY)
            wait_until(lambda: remote.status(portal.folder)["orders_waiting"] > 2, what="waiting orders")
            assert client.get(REPLAY_KEY) == frozen
        wait_until(lambda: remote.status(portal.folder)["orders_waiting"] < 2, what="provisioning")
        assert client.get(REPLAY_KEY) != frozen
        assert client.zcard("bull:order-provisioning:completed") > 2


def test_a_killed_bff_answers_nothing_until_it_is_back(portal: Sandbox) -> None:
    with portal.broken("bff"):
        assert portal.status("/") == portal.status("/health") == 0


def test_a_deploy_is_over_by_itself(portal: Sandbox) -> None:
    portal.break_("deploy")
    wait_until(lambda: portal.status("/") == 0, what="the old BFF's end")
    with pytest.raises(remote.SandboxError, match="heals by itself"):
        portal.heal("deploy")
    wait_until(lambda: portal.status("/") == 200, what="the new BFF")
    wait_until(lambda: remote.status(portal.folder)["broken"] == [], what="the end of the outage")


def test_a_failover_of_redis_is_read_only_then_away_then_over(portal: Sandbox) -> None:
    with Redis.from_url(addresses(portal)["redis"]["url"]) as client:
        client.set("kept", "yes")
        portal.break_("redis-failover")
        wait_until(lambda: client.info("replication")["role"] == "slave", what="a replica")
    wait_until(lambda: remote.status(portal.folder)["broken"] == [], what="the end of the failover")
    with Redis.from_url(addresses(portal)["redis"]["url"]) as client:
        assert client.info("replication")["role"] == "master"
        assert client.get("kept") == b"yes"


def test_what_is_broken_cannot_be_broken_nor_what_is_well_be_healed(portal: Sandbox) -> None:
    with portal.broken("freebit"):
        assert remote.status(portal.folder)["broken"] == ["freebit"]
        with pytest.raises(remote.SandboxError, match="freebit is broken already"):
            portal.break_("freebit")
    with pytest.raises(remote.SandboxError, match="freebit is not broken"):
        portal.heal("freebit")
    with pytest.raises(remote.SandboxError, match='no outage "reddis"; did you mean "redis"'):
        portal.break_("reddis")


def test_every_outage_has_been_tried() -> None:
    """The tests above name each outage: a new one comes with a test of its consequences."""
    text = Path(__file__).read_text()
    assert [name for name in OUTAGES if json.dumps(name) not in text] == []
