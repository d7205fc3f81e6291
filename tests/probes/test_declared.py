"""What a probe type says of itself for people: what it costs its target, what it must be allowed, how it is written."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from monitor.core.loading import Loaded, load
from monitor.probes import discover
from tests.probes.test_contract import private_key

RUNBOOK = Path(__file__).resolve().parent.parent / "config" / "good" / "runbook.yaml"
ENVIRONMENT = {
    "REDIS_URL": "redis://127.0.0.1", "DATABASE_URL": "postgresql://127.0.0.1/portal", "SF_MONITOR_CLIENT_ID": "an-id",
    "WHMCS_API_URL": "https://whmcs.example/includes/api.php", "WHMCS_API_IDENTIFIER": "an-identifier",
    "WHMCS_API_SECRET": "a-long-secret",
}  # fmt: skip
BESIDE: Mapping[str, str] = {  # the probes that the examples speak of
    "egress": "{type: tcp, target: '127.0.0.1:443'}",
    "sf-orders": "{type: salesforce, instance_url: 'https://example.my.salesforce.com'}",
    "sf-events": "{type: log, path: /var/log/bff/combined.log, patterns: {refused: failed}}",
}


@cache
def examples() -> Loaded:
    """Every example as one probes.yaml, a probe for each type and by its name."""
    written = {
        name: f"\n{textwrap.indent(probe_type.example.strip(), ' ' * 4)}" for name, probe_type in discover().items()
    }
    probes = "\n".join(f"  {name}: {text}" for name, text in {**BESIDE, **written}.items())

    def read(path: str) -> bytes:
        return private_key().encode() if path.endswith(".pem") else RUNBOOK.read_bytes()

    text = f"runbook: runbook.yaml\nprobes:\n{probes}\n"
    return load("/etc/monitor/probes.yaml", text, types=discover(), env=ENVIRONMENT, read=read)


@pytest.mark.parametrize("name", discover())
def test_an_example_is_a_probe_of_its_type(name: str) -> None:
    assert discover()[name].example.strip().startswith(f"type: {name}\n")
    assert examples().config.probes[name].type is discover()[name]


@pytest.mark.parametrize("name", discover())
def test_a_type_says_what_a_run_costs(name: str) -> None:
    cost = discover()[name].cost
    assert cost is not None
    assert cost.words.endswith(".")
    assert cost.most(examples().config.probes[name].options) >= 1
    assert (cost.rows(examples().config.probes[name].options) > 0) == (
        name in {"redis", "replay", "bullmq", "postgres"}
    )


@pytest.mark.parametrize("name", discover())
def test_a_type_says_what_it_must_be_allowed(name: str) -> None:
    assert discover()[name].privileges
    assert all(line == line.strip() and not line.endswith(".") for line in discover()[name].privileges)
