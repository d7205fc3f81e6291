"""The signed acknowledge link: whoever has it may acknowledge that opening of that incident, and nothing else."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from monitor.alerting import links
from monitor.core.incident import Incident, State
from monitor.core.runbook import Severity

SECRET = SecretStr("a" * 43)
INCIDENT = Incident("redis-20261123-1702", "redis", State.INVESTIGATING, Severity.P2, Severity.P2, 0.0, 0.0)


def token_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["token"][0]


def test_the_link_leads_to_the_incident_and_its_token_holds() -> None:
    url = links.make(SECRET, "https://monitor.example.com/watch", INCIDENT)

    assert url.startswith("https://monitor.example.com/watch/incidents/redis-20261123-1702/ack?token=1.")
    assert "&" not in url  # some receivers write it as &amp; in a text that is none
    assert links.check(SECRET, INCIDENT.key, token_of(url)) == 1


def test_a_token_is_worth_nothing_for_another_incident_opening_or_secret() -> None:
    token = links.token(SECRET, INCIDENT.key, 1)
    reopened = token_of(links.make(SECRET, "https://monitor.example.com", replace(INCIDENT, opening=2)))

    assert links.check(SECRET, "redis-20261123-1703", token) is None
    assert links.check(SecretStr("b" * 43), INCIDENT.key, token) is None
    assert links.check(SECRET, INCIDENT.key, f"2.{token.partition('.')[2]}") is None
    assert links.check(SECRET, INCIDENT.key, reopened) == 2


@pytest.mark.parametrize("given_", ["", "1", "1.", ".", "١.x", "-1.x", "1" * 5000, "1.é", "1.\x00"])
def test_what_is_no_token_is_refused(given_: str) -> None:
    assert links.check(SECRET, INCIDENT.key, given_) is None


@given(st.text(max_size=60), st.integers(0, 42))
def test_nothing_but_the_token_passes(text: str, at: int) -> None:
    token = links.token(SECRET, INCIDENT.key, 1)
    forged = token[:at] + text + token[at + len(text) :]
    assert (links.check(SECRET, INCIDENT.key, forged) == 1) is (forged == token)


def test_the_secret_is_kept_over_a_restart_and_only_its_user_can_read_it(tmp_path: Path) -> None:
    file = tmp_path / "link-secret"
    secret = links.kept_secret(file)

    assert len(secret.get_secret_value()) >= 43
    assert links.kept_secret(file) == secret
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["link-secret"]


def test_a_secret_cut_off_in_the_writing_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "link-secret"
    file.write_text("")
    (tmp_path / "link-secret.new").write_text("half")

    secret = links.kept_secret(file)
    assert links.kept_secret(file) == secret
    assert links.kept_secret(tmp_path / "other") != secret
