"""Loads a pair of files as the daemon does, one of them under test and the other one good."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from monitor.core.loading import Loaded, load
from monitor.probes import discover

GOOD = Path(__file__).parent / "good"
BAD = Path(__file__).parent / "bad"

ENV = {
    "REDIS_URL": "redis://:CANARY-redis@localhost:6379",
    "ID": "CANARY-id",
    "EMPTY": "",
    "HOOK_URL": "https://example.com/CANARY-hook",
}

SHIPPED_ENV = {
    "REDIS_URL": "redis://:CANARY-redis@localhost:6379",
    "DATABASE_URL": "postgresql://portal:CANARY-p%40ss@localhost/portal?schema=public&connection_limit=10",
    "PORTAL_URL": "https://portal.example.com",
    "WHMCS_API_URL": "https://whmcs.example.com/includes/api.php",
    "WHMCS_API_IDENTIFIER": "CANARY-identifier",
    "WHMCS_API_SECRET": "CANARY-secret",
    "SF_INSTANCE_URL": "https://example.my.salesforce.com",
}


def load_pair(file: Path, env: Mapping[str, str] = ENV) -> Loaded:
    """The pair that `file` (probes-… or runbook-…) makes with the good other one, whose names are short."""
    runbook = file if file.name.startswith("runbook") else GOOD / "runbook.yaml"
    probes = GOOD / "probes.yaml" if runbook == file else file
    files = {"runbook.yaml": runbook, "redis-url": GOOD / "redis-url", "empty-secret": GOOD / "empty-secret"}

    def read(path: str) -> bytes:
        return files.get(path, Path("/nonexistent") / path).read_bytes()

    return load("probes.yaml", probes.read_bytes(), types=discover(), env=env, read=read)
