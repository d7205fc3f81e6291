"""The schema for editors accepts what is shipped and underlines what it can see."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from monitor.core.keys import ProbeKeys
from monitor.core.schema import schema
from monitor.probes import discover
from tests.config.loading import BAD, GOOD
from tests.config.test_shipped import ROOT

SEEN = [
    "probes-runbook-missing",
    "probes-probes-missing",
    "probes-probes-none",
    "probes-key-unknown",
    "probes-probe-key-unknown",
    "probes-probe-no-mapping",
    "probes-probe-name",
    "probes-type-missing",
    "probes-type-unknown",
    "probes-option-missing",
    "probes-option-value",
    "probes-option-of-other-type",
    "probes-bool",
    "probes-number",
    "probes-number-too-small",
    "probes-text-is-number",
    "probes-list-wanted",
    "probes-mapping-wanted",
    "probes-duration-without-unit",
    "probes-duration-unit",
    "probes-duration-negative",
    "probes-duration-nan",
    "probes-duration-list",
    "probes-secret-plain",
    "probes-secret-twice",
    "probes-several",
    "probes-calendar-key-unknown",
    "probes-calendar-hours",
    "probes-maintenance-without-end",
    "probes-maintenance-without-reason",
    "probes-maintenance-not-a-list",
    "probes-maintenance-once",
    "probes-fallback-command-is-text",
    "probes-fallback-written-down",
    "probes-fallback-key-unknown",
    "probes-heartbeat-without-url",
    "probes-heartbeat-twice",
    "runbook-key-unknown",
    "runbook-respond-without-unit",
    "runbook-rule-severity",
    "runbook-rule-severity-missing",
    "runbook-rule-hold",
    "runbook-scenario-title-missing",
    "runbook-scenario-key-unknown",
    "runbook-several",
    "runbook-messages-key",
]


@cache
def validator(name: str) -> Draft202012Validator:
    made = schema(discover())[name]
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def mistakes(file: Path) -> list[str]:
    name = "runbook.yaml" if file.name.startswith("runbook") else "probes.yaml"
    values: Any = yaml.safe_load(file.read_text())
    return [error.message for error in validator(name).iter_errors(values)]


@pytest.mark.parametrize("folder", [ROOT, ROOT / "alerts", GOOD], ids=["shipped", "alerts", "good"])
def test_it_accepts_good_files(folder: Path) -> None:
    for file in folder.glob("*.yaml"):
        if file.name in {"probes.yaml", "runbook.yaml"}:
            assert not mistakes(file)


@pytest.mark.parametrize("name", SEEN)
def test_it_underlines_what_it_can_see(name: str) -> None:
    assert mistakes(BAD / f"{name}.yaml")


@pytest.mark.parametrize("name", sorted(discover()))
def test_no_type_has_a_key_that_every_probe_has(name: str) -> None:
    assert not set(discover()[name].options.model_fields) & set(ProbeKeys.model_fields)


def test_every_type_is_described() -> None:
    definitions = schema(discover())["probes.yaml"]["$defs"]
    assert {f"type {name}" for name in discover()} <= set(definitions)
