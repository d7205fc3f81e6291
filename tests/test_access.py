"""The command line's way to the daemon: behind TLS and logins, and past whatever else answers at its port."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr

from monitor.cli import load, load_or_ask
from monitor.commands.access import Access, Denied
from monitor.core.config import WebConfig
from monitor.core.loading import Loaded, outline
from monitor.web.server import serve
from tests.daemon import HEAD
from tests.web import portal
from tests.web.conftest import TOKEN
from tests.web.test_guard import certify, hashed

PROBES = """
runbook: runbook.yaml
store: sqlite://%(folder)s/state.db
web: {listen: "127.0.0.1:%(port)d"}
probes: {redis: {type: tcp, target: "127.0.0.1:1"}}
"""


def files(folder: Path, port: int, token: str = TOKEN) -> Loaded:
    """The files of a daemon that listens there, and the token that it has written."""
    (folder / "probes.yaml").write_text(PROBES % {"folder": folder, "port": port})
    (folder / "runbook.yaml").write_text(
        HEAD + "scenarios: {redis: {title: Redis, rules: [{severity: P2, any: [redis]}]}}"
    )
    (folder / "token").write_text(token + "\n")
    return load(str(folder / "probes.yaml"))


async def elsewhere(ask: Callable[[], Any]) -> Any:
    """What a command does in a process of its own, while the daemon of this test answers."""
    return await asyncio.to_thread(ask)


async def test_the_token_opens_a_daemon_behind_tls_and_logins(tmp_path: Path) -> None:
    certify(tmp_path, "one")
    web = tmp_path / "web.yml"
    users = f"basic_auth_users: {{ann: {hashed('pw')}}}"
    web.write_text(f"tls_server_config: {{cert_file: one.pem, key_file: one.key}}\n{users}\n")
    source = portal.Source()
    async with serve(source, WebConfig(port=0), SecretStr(TOKEN), web_config_file=web) as served:
        access = Access(files(tmp_path, served.port))
        found = await elsewhere(lambda: access.get("/api/v1/incidents"))
        assert [item["scenario"] for item in found] == ["redis", "performance", "whmcs"]
        route = f"/api/v1/incidents/{portal.REDIS_DOWN.key}/note"
        await elsewhere(lambda: access.change("POST", route, {"text": "Seen", "by": "mei"}))
        assert [by for _, _, by in source.acted] == ["mei"]
        assert access.note == ""


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("another", "is not that of the daemon at http://127.0.0.1:"),
        ("", "cannot be read: be the daemon's user, or root"),
        ("no\nheader", "cannot be read: be the daemon's user, or root"),
    ],
)
async def test_a_token_that_is_not_the_daemons_is_said_with_its_file(tmp_path: Path, token: str, said: str) -> None:
    async with serve(portal.Source(), WebConfig(port=0), SecretStr(TOKEN)) as served:
        access = Access(files(tmp_path, served.port, token))
        with pytest.raises(Denied, match=f"the token in {tmp_path}/token {said}"):
            await elsewhere(lambda: access.change("POST", "/api/v1/incidents/x/note", {"text": "x", "by": "mei"}))


async def test_a_token_that_is_not_there_asks_whether_the_store_is_elsewhere(tmp_path: Path) -> None:
    async with serve(portal.Source(), WebConfig(port=0), SecretStr(TOKEN)) as served:
        access = Access(files(tmp_path, served.port))
        (tmp_path / "token").unlink()
        said = (
            f"there is no token at {tmp_path}/token: does the daemon at http://127.0.0.1:{served.port} have its store"
        )
        with pytest.raises(Denied, match=said):
            await elsewhere(lambda: access.change("POST", "/api/v1/incidents/x/note", {"text": "x", "by": "mei"}))


async def test_a_daemon_that_goes_away_meanwhile_is_not_taken_for_one_that_is_down(tmp_path: Path) -> None:
    async with serve(portal.Source(), WebConfig(port=0), SecretStr(TOKEN)) as served:
        access = Access(files(tmp_path, served.port))
        await elsewhere(lambda: access.get("/api/v1/incidents"))
    with pytest.raises(Denied, match=r"the daemon does not answer: .*; whether it was done is not known"):
        await elsewhere(lambda: access.change("POST", "/api/v1/incidents/x/note", {"text": "x", "by": "mei"}))


async def test_a_running_daemon_answers_whose_file_cannot_be_used_from_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serve(portal.Source(), WebConfig(port=0), SecretStr(TOKEN)) as served:
        files(tmp_path, served.port)
        path = tmp_path / "probes.yaml"
        path.write_text(path.read_text().replace('"127.0.0.1:1"', '"${THE_DAEMONS_OWN_VARIABLE}", warn: nonsense'))
        access = Access(await elsewhere(lambda: load_or_ask(str(path), 2)))
        assert f"The daemon answers. Read from here, {path} has " in capsys.readouterr().err
        assert len(await elsewhere(lambda: access.get("/api/v1/incidents"))) == 3
        route = f"/api/v1/incidents/{portal.REDIS_DOWN.key}/note"
        await elsewhere(lambda: access.change("POST", route, {"text": "Seen", "by": "mei"}))
        late = Access(await elsewhere(lambda: load_or_ask(str(path), 2)))
    with pytest.raises(Denied, match="no daemon answers any more"):
        await elsewhere(lambda: late.get("/api/v1/incidents"))
    assert not (tmp_path / "state.db").exists()
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        await elsewhere(lambda: load_or_ask(str(path), 2))
    assert ended.value.code == 2
    assert "the variable THE_DAEMONS_OWN_VARIABLE is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    "broken", ["a: [\n", "probes: {redis: {type: tcp}\n", "\tx: 1\n", "x: \x07\n", "  y: 1\n z: 2\n"]
)
@pytest.mark.parametrize("first", [True, False])
async def test_a_running_daemon_answers_whose_file_is_no_yaml_any_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str, first: bool
) -> None:
    async with serve(portal.Source(), WebConfig(port=0), SecretStr(TOKEN)) as served:
        files(tmp_path, served.port)
        path = tmp_path / "probes.yaml"
        text = (
            path.read_text().replace('web: {listen: "', 'web:\n  # here\n\n  {listen: "').replace("probes:", "other:")
        )
        path.write_text(broken + text if first else text + broken)
        access = Access(await elsewhere(lambda: load_or_ask(str(path), 2)))
        said = capsys.readouterr().err
        assert said.startswith(f"The daemon answers. Read from here, {path} has 1 mistake, as `check` says: {path}:")
        route = f"/api/v1/incidents/{portal.REDIS_DOWN.key}/note"
        await elsewhere(lambda: access.change("POST", route, {"text": "Seen", "by": "mei"}))


def test_a_file_that_is_no_yaml_and_says_neither_is_of_a_daemon_where_it_is_by_default() -> None:
    found = outline("folder/probes.yaml", "a: [\n", env={})
    assert found is not None
    assert (found.config.web.host, found.config.web.port, found.config.store) == ("127.0.0.1", 9877, "folder/state.db")


@pytest.mark.parametrize(
    "web", ["{listen: 'host:1'}\nweb: {listen: 'host:2'}", "{listen: 'host:1'", "*there", "{listen: 1}"]
)
def test_a_file_that_is_no_yaml_is_not_guessed_at(web: str) -> None:
    assert outline("probes.yaml", f"a: [\nweb: {web}\nb: 1\n", env={}) is None


@pytest.mark.parametrize("web", ["{listen: ${PORT_OF_THE_DAEMON}}", "{listen: nowhere}", "[", "{listen: 1, port: 2}"])
def test_a_file_that_does_not_say_where_its_daemon_listens_is_no_way_to_it(web: str) -> None:
    assert outline("probes.yaml", f"web: {web}\nprobes: {{}}\n", env={}) is None


@pytest.mark.parametrize("answer", [b"healthy", b"<html>", b'{"error": "no"}', b""])
def test_what_is_not_our_daemon_gets_no_token_and_is_not_believed(tmp_path: Path, answer: bytes) -> None:
    heard: list[str] = []

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(str(self.headers))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        access = Access(files(tmp_path, server.server_address[1]))
        with pytest.raises(Denied, match=r"no daemon answers, and .*/state.db: there is no store yet"):
            access.get("/api/v1/incidents")
        server.shutdown()
        thread.join()
    assert heard
    assert TOKEN not in "".join(heard)
    assert not (tmp_path / "state.db").exists()
