"""What is answered under which address, asked for over real HTTP."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace
from pathlib import Path

import httpx
import jsonschema
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from monitor.core.config import WebConfig
from monitor.core.incident import Incident
from monitor.web import ReloadReport
from monitor.web.server import ListenError, serve
from tests.servers import Process, free_port, tool, wait_until
from tests.web import portal
from tests.web.conftest import Site


async def test_metrics_are_text_by_default(site: Site) -> None:
    answer = await site.client.get("/metrics", headers={"Accept-Encoding": "identity"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'portal_probe_success{probe="redis"} 0.0' in answer.text


async def test_metrics_are_openmetrics_for_those_who_prefer_it(site: Site) -> None:
    answer = await site.client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_metrics_are_packed_for_those_who_take_it(site: Site) -> None:
    async with site.client.stream("GET", "/metrics", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert b"portal_probe_success" in gzip.decompress(raw)


@pytest.mark.parametrize("encodings", ["identity", "gzip;q=0", "gzip;q=0.0", "br", ""])
async def test_metrics_are_plain_for_those_who_do_not(site: Site, encodings: str) -> None:
    answer = await site.client.get("/metrics", headers={"Accept-Encoding": encodings})
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("accept", ["text/plain;version=abc", "application/openmetrics-text;version=x", ";;q=,,", "é"])
async def test_a_bad_accept_header_is_harmless(site: Site, accept: str) -> None:
    answer = await site.client.get("/metrics", headers=[(b"Accept", accept.encode("latin-1"))])
    assert (answer.status_code, answer.headers["content-type"][:10]) == (200, "text/plain")


async def test_metrics_follow_the_snapshot(site: Site) -> None:
    assert 'portal_probe_success{probe="redis"} 0.0' in (await site.client.get("/metrics")).text
    site.source.show(portal.quiet_snapshot())
    assert 'portal_probe_success{probe="redis"} 1.0' in (await site.client.get("/metrics")).text


async def test_many_scrapes_at_once_are_all_answered(site: Site) -> None:
    answers = await asyncio.gather(*(site.client.get("/metrics") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}


async def test_head_is_get_without_a_body(site: Site) -> None:
    answer = await site.client.head("/metrics")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 100


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
async def test_metrics_take_no_other_method(site: Site, method: str) -> None:
    answer = await site.client.request(method, "/metrics")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_healthy_is_that_it_answers(site: Site) -> None:
    assert (await site.client.get("/-/healthy")).status_code == 200
    assert (await site.client.head("/-/healthy")).status_code == 200


async def test_ready_is_that_the_scheduler_ticks(site: Site) -> None:
    assert (await site.client.get("/-/ready")).status_code == 200
    standing = replace(portal.snapshot().monitor, ticking=False)
    site.source.show(portal.snapshot(monitor=standing))
    assert (await site.client.get("/-/ready")).status_code == 503


async def test_ready_says_nothing_about_the_targets(site: Site) -> None:
    assert portal.snapshot().probes["redis"].level == "fail"
    assert (await site.client.get("/-/ready")).status_code == 200


async def test_a_reload_names_what_it_changed(site: Site) -> None:
    answer = await site.client.post("/-/reload", headers=site.change)
    assert answer.status_code == 200
    assert answer.json() == {"ok": True, "added": ["new"], "changed": ["redis"], "removed": ["old"], "error": ""}
    assert site.source.reloads == 1


async def test_a_reload_that_fails_says_why(site: Site) -> None:
    site.source.report = ReloadReport(error='probes.yaml:3:5: "tpye" is not known; did you mean "type"?')
    answer = await site.client.post("/-/reload", headers=site.change)
    assert answer.status_code == 500
    assert answer.json()["ok"] is False
    assert "probes.yaml:3:5" in answer.json()["error"]


async def test_the_status_has_all_that_scripts_rely_on(site: Site) -> None:
    status = (await site.client.get("/api/v1/status")).json()
    found = {probe["name"]: probe for probe in status["probes"]}
    keys = {"name", "type", "outcome", "level", "reason", "at", "duration_seconds", "measurements"}
    assert keys <= found["redis"].keys()
    assert (found["redis"]["outcome"], found["redis"]["level"]) == ("failure", "fail")
    assert found["redis"]["at"] == "2026-11-23T16:59:57.000Z"
    assert found["old"]["at"] is None
    assert found["latency"]["measurements"]["latency_mean_seconds"] == {"": 0.8, "whmcs": 2.1, "salesforce": 0.4}
    [redis, slow, over] = status["incidents"]
    assert (redis["scenario"], redis["severity"], redis["state"], redis["parent"]) == (
        "redis",
        "P2",
        "investigating",
        None,
    )
    assert redis["pages"][0]["escalation_level"] == "L1"
    assert (slow["parent"], slow["pages"]) == ("redis", [])
    assert over["resolved_at"] is not None


async def test_what_is_no_number_is_not_in_the_json(site: Site) -> None:
    answer = await site.client.get("/api/v1/probes/redis-cache")
    assert "NaN" not in answer.text
    assert "hit_ratio" not in answer.json()["measurements"]


async def test_one_probe_can_be_asked_for(site: Site) -> None:
    assert (await site.client.get("/api/v1/probes/redis")).json()["advice"].startswith("Nothing accepts connections")
    missing = await site.client.get("/api/v1/probes/nobody")
    assert (missing.status_code, missing.json()) == (404, {"error": "There is no such probe."})


@pytest.mark.parametrize("incident", [portal.REDIS_DOWN, portal.SLOW, portal.WHMCS_OVER])
async def test_an_incident_has_an_address_that_its_pages_lead_to(site: Site, incident: Incident) -> None:
    page = await site.client.get(f"/incidents/{incident.key}")
    assert (page.status_code, incident.key in page.text) == (200, True)
    assert (await site.client.get(f"/api/v1/incidents/{incident.key}")).json()["key"] == incident.key


async def test_an_incident_that_nobody_knows_is_not_found(site: Site) -> None:
    assert (await site.client.get("/incidents/redis-19700101-0000")).status_code == 404
    assert (await site.client.get("/api/v1/incidents/redis-19700101-0000")).status_code == 404


async def test_lists_are_lists(site: Site) -> None:
    probes = (await site.client.get("/api/v1/probes")).json()
    assert [probe["name"] for probe in probes] == list(portal.CONFIGS)
    incidents = (await site.client.get("/api/v1/incidents")).json()
    assert [incident["scenario"] for incident in incidents] == ["redis", "performance", "whmcs"]


@pytest.mark.parametrize("snapshot", [portal.snapshot(), portal.quiet_snapshot()], ids=["bad day", "good day"])
async def test_answers_are_what_the_openapi_document_says(site: Site, snapshot: object) -> None:
    site.source.show(snapshot)  # type: ignore[arg-type]
    document = (await site.client.get("/api/v1/openapi.json")).json()
    checked = 0
    for path, item in document["paths"].items():
        if "get" in item and "application/json" in item["get"]["responses"]["200"]["content"]:
            answer = (
                await site.client.get(
                    path.replace("{name}", "redis")
                    .replace("{subject}", "redis")
                    .replace("{key}", portal.WHMCS_OVER.key)
                )
            ).json()
            schema = item["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            jsonschema.validate(answer, {**schema, "components": document["components"]})
            checked += 1
    answer = (await site.client.post("/-/reload", headers=site.change)).json()
    jsonschema.validate(answer, {"$ref": "#/components/schemas/ReloadJson", "components": document["components"]})
    assert checked == 11


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/incidents", "GET, HEAD, POST"),
        ("/api/v1/incidents/x/ack", "POST"),
        ("/api/v1/incidents/x/review", "GET, HEAD, POST"),
        ("/api/v1/incidents/x/messages", "GET, HEAD"),
        ("/api/v1/maintenance/x", "DELETE"),
        ("/-/reload", "POST"),
    ],
)
async def test_an_address_names_the_methods_that_it_takes(site: Site, path: str, allowed: str) -> None:
    answer = await site.client.request("PATCH", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1/nothing", "/static/nothing", "/static/..%2fapp.py", "/probes/x/y"]
)
async def test_what_is_not_there_is_not_found(site: Site, path: str) -> None:
    assert (await site.client.get(path)).status_code == 404


async def test_a_mistake_in_one_answer_is_said_and_costs_only_that_answer(site: Site) -> None:
    broken = replace(portal.REDIS_DOWN, opened_at="yesterday")  # type: ignore[arg-type]
    site.source.show(portal.snapshot(incidents=(broken,)))
    with capture_logs() as logged:
        answer = await site.client.get("/api/v1/status")
    assert (answer.status_code, answer.json()) == (500, {"error": "The monitor made a mistake; its log says more."})
    assert [(line["event"], line["path"]) for line in logged] == [("web_request_failed", "/api/v1/status")]
    assert (await site.client.get("/-/healthy")).status_code == 200
    assert (await site.client.get("/metrics")).status_code == 200


async def test_a_port_that_is_taken_is_said_in_one_line(site: Site) -> None:
    config = WebConfig(port=site.served.port)
    with pytest.raises(ListenError, match=rf"cannot listen on 127.0.0.1:{site.served.port}: Address already in use"):
        async with serve(portal.Source(), config, SecretStr("t")):
            pass


async def test_a_name_is_listened_on_at_every_address_it_has() -> None:
    async with serve(portal.Source(), WebConfig(host="localhost", port=0), SecretStr("t")) as served:
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            assert (await client.get(f"{served.url}/-/healthy")).status_code == 200
        assert served.url == f"http://localhost:{served.port}"


async def test_the_end_lets_an_answer_under_way_finish(site: Site) -> None:
    source = portal.Source()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> ReloadReport:
        begun.set()
        await go_on.wait()
        return ReloadReport()

    source.reload = slow  # type: ignore[method-assign]
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        async with serve(source, WebConfig(port=0), SecretStr("t")) as served:
            asking = asyncio.create_task(client.post(f"{served.url}/-/reload", headers={"Authorization": "Bearer t"}))
            await begun.wait()
            asyncio.get_running_loop().call_later(0.05, go_on.set)
        assert (await asking).status_code == 200
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{served.url}/-/healthy")


async def test_a_real_prometheus_scrapes_it(site: Site, tmp_path: Path) -> None:
    prometheus = tool("prometheus")
    if prometheus is None:
        pytest.skip("prometheus is not installed")
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 100ms, scrape_timeout: 100ms}\n"
        "scrape_configs:\n"
        "- job_name: portal\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{site.served.port}']}}]\n"
    )
    server = Process(
        [
            prometheus,
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        port,
        log=tmp_path / "prometheus.log",
    )

    def query(expression: str) -> list[dict[str, object]]:
        answer = httpx.get(
            f"http://127.0.0.1:{port}/api/v1/query", params={"query": expression}, trust_env=False, verify=False
        )
        return answer.json()["data"]["result"] if answer.status_code == 200 else []

    try:
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(wait_until, lambda: bool(query("up == 1")), what="a scrape that Prometheus can read")
        found = await asyncio.to_thread(query, "portal_probe_info unless on(probe) portal_probe_success")
        assert sorted(series["metric"]["probe"] for series in found) == ["old", "sf-replay"]  # type: ignore[index]
        [page] = await asyncio.to_thread(query, "portal_page_open")
        assert page["metric"]["incident"] == portal.REDIS_DOWN.key  # type: ignore[index]
        assert await asyncio.to_thread(query, "scrape_samples_scraped > 100 and scrape_samples_scraped < 2000")
    finally:
        await asyncio.to_thread(server.kill)
