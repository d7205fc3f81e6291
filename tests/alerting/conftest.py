"""One real Alertmanager and one webhook for each worker; tests tell their incidents apart by name."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.alertmanager import Alertmanager, Webhook, program

MakeAlertmanager = Callable[..., Alertmanager]


@pytest.fixture(scope="session")
def webhook() -> Iterator[Webhook]:
    with Webhook() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def alertmanager(tmp_path_factory: pytest.TempPathFactory, webhook: Webhook) -> Iterator[Alertmanager]:
    """A running Alertmanager that all tests of this worker share: never stop it."""
    _needed()
    server = Alertmanager(tmp_path_factory.mktemp("alertmanager"), webhook.url)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def make_alertmanager(tmp_path: Path, webhook: Webhook) -> Iterator[MakeAlertmanager]:
    """Start further ones, to be stopped and configured as a test likes. Ended after the test."""
    _needed()
    started: list[Alertmanager] = []

    def make(*, web_config: str = "", flags: Sequence[str] = ()) -> Alertmanager:
        server = Alertmanager(tmp_path / f"am{len(started)}", webhook.url, web_config=web_config, flags=flags)
        started.append(server)
        server.start()
        return server

    yield make
    for server in started:
        server.kill()


@pytest.fixture
def incident() -> str:
    """The key of an incident that no other test has."""
    return f"redis-{uuid.uuid4().hex[:12]}"


def _needed() -> None:
    if program() is None:
        pytest.skip("there is no Alertmanager (tools/fetch brings it)")
