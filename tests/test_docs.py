"""The documentation: its YAML loads, its commands exist and run, its links lead somewhere, its tables are the program's."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from click import Command, Context, Group
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from monitor.cli import main
from monitor.core.keys import ProbesKeys
from monitor.core.loading import Loaded, load
from monitor.core.runbook import Severity
from monitor.probes import discover
from monitor.web import toolkit
from tests.config.loading import SHIPPED_ENV

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
SIX_KEYS = {"interval", "timeout", "warn", "fail", "fail_after", "needs"}
OTHERS = {  # programs that the documentation may speak of; they are not ours
    "python3", "make", "docker", "kubectl", "amtool", "promtool", "kill", "sqlite3", "curl", "systemctl", "pip",
    "systemd-run",
}  # fmt: skip
KEY = rsa.generate_private_key(65537, 2048).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
ENVIRONMENT = {
    **SHIPPED_ENV, "CREDENTIALS_DIRECTORY": ".", "SF_MONITOR_CLIENT_ID": "an-id", "SF_MONITOR_USERNAME": "a-user",
    "SF_MONITOR_PRIVATE_KEY": KEY.decode(), "HEARTBEAT_URL": "https://deadman.example.com/portal-monitor",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    kind: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*kinds: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            if match["kind"] in kinds:
                body = re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
                found.append(Block(page, text.count("\n", 0, match.start()) + 1, match["kind"], body))
    return found


def commands() -> list[tuple[str, str]]:
    """Every line behind a prompt: where it stands, and the command."""
    return [
        (block.name, line.removeprefix("$ ").partition("  #")[0].strip())
        for block in blocks("console")
        for line in block.text.splitlines()
        if line.startswith("$ ")
    ]


def ids(found: Any) -> str:
    return found.name if isinstance(found, Block) else str(found)


# --- YAML ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks("yaml"), ids=ids)
def test_every_piece_of_yaml_is_good(block: Block, tmp_path: Path) -> None:
    values = yaml.safe_load(block.text)
    if set(values) <= set(ProbesKeys.model_fields):
        loads(values)
    elif {"basic_auth_users", "tls_server_config"} & set(values):
        load_web_file(block.text, tmp_path)
    else:
        pytest.fail(f"{block.name}: nothing here reads this; say what it is a part of")


def load_web_file(text: str, folder: Path) -> None:
    """What `--web.config.file` takes, with certificates that are there."""
    certificate = trustme.CA().issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "web.yml").write_text(text.replace("/etc/portal-monitor/tls", str(folder)))
    assert toolkit.load(folder / "web.yml")


@cache
def shipped() -> Loaded:
    """The configuration as it is shipped."""
    text = (ROOT / "probes.yaml").read_text()
    return load("probes.yaml", text, types=discover(), env=ENVIRONMENT, read=lambda path: (ROOT / path).read_bytes())


def loads(piece: dict[str, Any]) -> None:
    """The piece in the place of what the shipped configuration says there, or beside it."""
    shipped = yaml.safe_load((ROOT / "probes.yaml").read_text())
    whole = {**shipped, **piece, "probes": {**shipped["probes"], **piece.get("probes", {})}}

    def read(path: str) -> bytes:
        if path.startswith("alerts/"):
            return (ROOT / path).read_bytes()
        return b"redis://localhost\n" if "redis" in path else KEY

    load("probes.yaml", yaml.safe_dump(whole, sort_keys=False), types=discover(), env=ENVIRONMENT, read=read)


def test_the_first_page_of_an_operator_needs_six_keys() -> None:
    (block, *_) = [block for block in blocks("yaml") if block.page.name == "configure.md"]
    used: set[str] = set()
    for probe in yaml.safe_load(block.text)["probes"].values():
        used |= set(probe) - {"type"} - set(discover()[probe["type"]].options.model_fields)
    assert used == SIX_KEYS


# --- Commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "command"), commands(), ids=ids)
def test_every_command_is_one_that_there_is(place: str, command: str) -> None:
    assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0, place
    program, *arguments = shlex.split(command)
    if Path(program).name != "portal-monitor":
        assert Path(program).name in OTHERS, f"{place}: {program}"
        return
    found: Command = main
    while isinstance(found, Group) and not {"--version", "--help"} & set(arguments):
        name, *arguments = arguments
        inner = found.get_command(Context(found), name)
        assert inner is not None, f"{place}: there is no command {name}"
        found = inner
    if not isinstance(found, Group):
        found.make_context("portal-monitor", arguments)


HARMLESS = ("check", "schema", "init", "--version", "--help", "scan")


def test_the_harmless_ones_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "combined.log"
    log.write_text('{"level":30,"time":1764000000000,"msg":"request completed"}\n')
    ran = set()
    for place, command in [("", "portal-monitor init ."), *commands()]:
        program, *arguments = shlex.split(command)
        if Path(program).name != "portal-monitor" or arguments[0] not in HARMLESS or "--live" in arguments:
            continue
        arguments = [argument.replace("/var/log/bff/combined.log", str(log)) for argument in arguments]
        arguments = [argument.replace("/etc/portal-monitor", "elsewhere") for argument in arguments]
        if tuple(arguments) in ran:
            continue
        done = CliRunner(env=ENVIRONMENT).invoke(main, arguments)
        assert done.exit_code == 0, (place, command, done.output)
        ran.add(tuple(arguments))
    assert {arguments[0] for arguments in ran} >= {"check", "init", "scan", "--version"}


# --- Links and tables ------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_every_file_that_is_named_is_there() -> None:
    for page in PAGES:
        for name in re.findall(r"`((?:deploy|alerts|tools|monitor|bench)/[\w./-]+)`", page.read_text()):
            assert (ROOT / name).exists(), (page.name, name)


def test_the_page_of_probe_types_is_what_the_types_declare() -> None:
    made = runpy.run_path(str(ROOT / "tools/probe_docs.py"))
    assert (ROOT / "docs/probes.md").read_text() == made["page"](), "run PYTHONPATH=. python tools/probe_docs.py"


def test_every_option_of_every_probe_type_is_explained() -> None:
    bare = re.findall(r"^\| `(\w+)` \| [^|]*\|  \|$", (ROOT / "docs/probes.md").read_text(), re.MULTILINE)
    assert bare == [], "write what it is for beside it, as a comment"


def test_the_command_that_is_not_there_is_not_promised() -> None:
    promised = set(re.findall(r"`portal-monitor ([a-z-]+)", "".join(page.read_text() for page in PAGES)))
    assert promised <= set(main.list_commands(Context(main)))


# --- Drift -----------------------------------------------------------------------------------------------------------


def rows(page: str, first: str) -> dict[str, list[str]]:
    """The rows of a page's tables whose first cell begins with this, by that cell."""
    found = re.findall(rf"^\| ({first}[^|]*) \|(.*)\|$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    return {head.strip(): [cell.strip() for cell in rest.split("|")] for head, rest in found}


def seconds(words: str) -> float:
    """`30 minutes`, `1 hour`."""
    number, _, unit = words.partition(" ")
    return float(number) * {"minute": 60, "hour": 3600}[unit.rstrip("s")]


def test_the_deadlines_of_the_page_are_the_runbooks() -> None:
    runbook = shipped().runbook
    for severity, (respond, update, review) in rows("incidents.md", r"P\d").items():
        row = runbook.severities[Severity[severity]]
        assert (seconds(respond), seconds(update), review == "yes") == (row.respond, row.update_every, row.review)


def test_the_matrix_of_the_page_is_the_runbooks() -> None:
    matrix = shipped().runbook.escalation
    told = rows("incidents.md", r"L\d")
    for level, row in matrix.items():
        (head,) = [head for head in told if head.startswith(f"{level} ") and "again" not in head]
        assert head.removeprefix(f"{level} ").lower() == row.to.lower()
    assert matrix["L2"].unresolved == seconds("30 minutes")
    assert "for 30 minutes" in told["L2 development lead"][0]
    assert matrix["L3"].unresolved == seconds("1 hour")
    assert "for an hour" in told["L3 engineering manager"][0]
    life = shipped().runbook.lifecycle
    assert (life.monitor, life.reopen_within) == (seconds("15 minutes"), seconds("30 minutes"))


def test_the_receivers_of_the_page_are_those_of_the_routing() -> None:
    there = {one["name"] for one in yaml.safe_load((ROOT / "alerts/alertmanager.yml").read_text())["receivers"]}
    named = set()
    for cells in rows("alerts.md", r"`\w+=").values():
        base = ""
        for word in re.findall(r"`([a-z-]+)`", cells[0]):
            named.add(base + word if word.startswith("-") and base else word)
            base = "vendor-support" if word.startswith("vendor-support") else base
    assert named - {"vendor"} == there


def test_the_rules_of_the_page_are_those_that_there_are() -> None:
    groups = yaml.safe_load((ROOT / "alerts/rules.yml").read_text())["groups"]
    rules = {rule["alert"]: rule["labels"].get("severity", "") for group in groups for rule in group["rules"]}
    text = (ROOT / "docs/alerts.md").read_text()
    explained = dict(re.findall(r"^### (Portal\w+)\n\n(P\d)?", text, re.MULTILINE))
    assert explained == rules
