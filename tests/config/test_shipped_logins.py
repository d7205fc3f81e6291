"""The shipped probe `logins` on logs of a night and of an attack: which of its limits speaks, and that none fails."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.core.probe import Outcome
from monitor.runner import Runner
from tests.config.test_shipped import shipped


def visit(status: int, who: str | None = None, *, url: str = "/api/auth/login", ago: float = 30.0) -> str:
    """A line of a request, as nestjs-pino writes it behind a proxy that passes the address on, or does not."""
    request: dict[str, object] = {"id": 7, "method": "POST", "url": url}
    request |= {"headers": {"host": "portal", **({"x-forwarded-for": who} if who else {})}, "remoteAddress": "10.0.0.1"}
    record = {"level": 30, "time": int(1000 * (time.time() - ago)), "req": request, "res": {"statusCode": status}}
    return json.dumps({**record, "responseTime": 9, "msg": "request completed"}, separators=(",", ":"))


def said(message: str) -> str:
    return json.dumps({"level": 40, "time": int(1000 * (time.time() - 30)), "msg": message}, separators=(",", ":"))


ONE, MANY = "198.51.100.7", [f"203.0.113.{number}" for number in range(200)]
LOGS = {  # what is in the window, and which limits speak
    "a quiet night": ([visit(201, MANY[0]), visit(401, MANY[1]), visit(201, MANY[1])], set()),
    "a busy day": ([visit(201, who) for who in MANY] + [visit(401, who) for who in MANY[:19]], set()),
    "a forgotten password": ([visit(401, ONE)] * 9 + [visit(201, ONE, ago=5)], set()),
    "one address tries": ([visit(401, ONE)] * 10, {"source_most[rejected]"}),
    "one address tries and is locked out": ([visit(429, ONE)] * 10, {"source_most[rejected]"}),
    "one address tries and gets in": (
        [visit(401, ONE)] * 12 + [visit(201, ONE, ago=5)], {"source_most[rejected]", "let_in_after[rejected]"}
    ),
    "many addresses try": ([visit(401, who) for who in MANY[:20]], {"sources[rejected]"}),
    "so many that it shows in the whole": (
        [visit(401, who) for who in MANY[:40]], {"sources[rejected]", "matches_unusual[rejected]"}
    ),
    "behind a proxy that hides them": ([visit(401)] * 31, {"matches_unusual[rejected]"}),
    "words of the application alone": ([said("Login failed: invalid credentials")] * 31, {"matches_unusual[refused]"}),
    "tokens that are renewed in vain": ([visit(401, ONE, url="/api/auth/refresh")] * 31, {"matches_unusual[refreshes]"}),
    "rate limits that hold": ([visit(429, who, url="/api/orders") for who in MANY[:51]], {"matches[throttled]"}),
    "doors that are tried": ([visit(403, who, url="/api/admin") for who in MANY[:51]], {"matches[forbidden]"}),
    "tokens that are made up": ([said("Token reuse detected")] * 11, {"matches[forged]"}),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGS)
async def test_what_is_unusual_speaks_and_what_is_usual_does_not(name: str, tmp_path: Path) -> None:
    lines, speaking = LOGS[name]
    path = tmp_path / "combined.log"
    filler = [visit(200, who, url="/api/orders") for who in MANY[:10]]
    path.write_text("\n".join([*filler, *lines, *filler, ""]))
    shipped_probe, runner = shipped().config.probes["logins"], Runner(SystemClock())
    config = replace(shipped_probe, options=shipped_probe.options.model_copy(update={"path": str(path)}))
    try:
        result = await runner.run(config)
    finally:
        await runner.close()
    assert (result.outcome, result.quiet) == (Outcome.SUCCESS, None)
    assert {one.why for one in config.warn if one.holds(result.measurements)} == speaking
    assert not [one for one in config.warn if one.holds(result.measurements) is None]  # all of it was measured
    assert not config.fail
