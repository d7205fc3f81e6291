"""What other terminals ask of a sandbox that is up: `break`, `heal`, `pages`, over its loopback control."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from monitor.core.condition import did_you_mean
from monitor.sandbox.outages import OUTAGES

STATE = "sandbox.json"  # in the folder while the sandbox is up: process ids and addresses
ANSWER_SECONDS = 40.0  # PostgreSQL may take long to come back


class SandboxError(Exception):
    """What was asked cannot be done; one line for people."""


def running(folder: Path) -> Mapping[str, Any] | None:
    """The state of the sandbox that is up in this folder, None if none is (or it was killed)."""
    try:
        state: Mapping[str, Any] = json.loads((folder / STATE).read_text())
        _request("GET", f"{state['control']}/status", 5).raise_for_status()
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return None
    return state


def break_(name: str, folder: Path) -> str:
    """Begin an outage; a sentence about it. Raises SandboxError for an unknown name, or if it is broken already."""
    return _change("break", name, folder)


def heal(name: str, folder: Path) -> str:
    """End an outage; a sentence about it. Raises SandboxError, also if it is not broken."""
    return _change("heal", name, folder)


def status(folder: Path) -> dict[str, Any]:
    """`{"broken": [names], "orders_waiting": n}`"""
    answer: dict[str, Any] = _ask("GET", "/status", folder).json()
    return answer


def pages(folder: Path) -> list[dict[str, Any]]:
    """Every page since the sandbox is up: `at, status, labels, annotations`."""
    answer: list[dict[str, Any]] = _ask("GET", "/pages", folder).json()
    return answer


def _change(verb: str, name: str, folder: Path) -> str:
    if name not in OUTAGES:
        raise SandboxError(f'there is no outage "{name}"{did_you_mean(name, OUTAGES)}')
    answer = _ask("POST", f"/{verb}/{name}", folder)
    try:
        said = str(answer.json()["said"])
    except (ValueError, KeyError):
        raise SandboxError(f"the sandbox could not {verb} {name}; its terminal says why") from None
    if answer.status_code != 200:
        raise SandboxError(said)
    return said


def _ask(method: str, path: str, folder: Path) -> httpx.Response:
    state = running(folder)
    if not state:
        raise SandboxError(f"no sandbox is up in {folder}; start one: portal-monitor sandbox up --folder {folder}")
    try:
        return _request(method, f"{state['control']}{path}", ANSWER_SECONDS)
    except httpx.HTTPError as error:
        raise SandboxError(f"the sandbox in {folder} did not answer: {error}") from error


def _request(method: str, url: str, seconds: float) -> httpx.Response:
    # There is no TLS on loopback, and reading the authorities' certificates takes longer than the request.
    return httpx.request(method, url, timeout=seconds, trust_env=False, verify=False)
