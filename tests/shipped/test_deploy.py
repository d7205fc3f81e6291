"""deploy/: each file is taken by the tool that it is for, and the files agree with each other and with the program."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import compose_spec
import kubernetes_validate
import pytest
import yaml
from click import Command, Context, Group

from monitor import __version__
from monitor.cli import main
from monitor.core.loading import load
from monitor.probes import discover
from monitor.sandbox import pair
from tests.servers import tool

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
UNIT = DEPLOY / "portal-monitor.service"


def run(*command: str | Path, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def parsed(arguments: list[str]) -> dict[str, Any]:
    """The options of a command line of portal-monitor, as the program itself reads them."""
    command: Command = main
    while isinstance(command, Group):
        name, *arguments = arguments
        found = command.get_command(Context(command), name)
        assert found is not None, name
        command = found
    return command.make_context("portal-monitor", arguments).params


# --- The environment ---------------------------------------------------------------------------------------------------


def test_the_environment_names_every_variable_with_its_default_and_no_other() -> None:
    asked = "".join(line for line in (ROOT / "probes.yaml").read_text().splitlines(keepends=True) if line[0] != "#")
    wanted = dict(re.findall(r"\$\{(\w+)(?::-([^}]*))?\}", asked))
    named = re.findall(r"^#?([A-Z_]+)=(.*)$", (DEPLOY / "portal-monitor.env").read_text(), re.MULTILINE)
    assert set(wanted) == {name for name, _ in named}
    assert {name: value for name, value in named if wanted[name]} == {
        name: text for name, text in wanted.items() if text
    }


def test_with_it_the_shipped_configuration_is_good() -> None:
    lines = re.findall(r"^([A-Z_]+)=(.+)$", (DEPLOY / "portal-monitor.env").read_text(), re.MULTILINE)
    text = (ROOT / "probes.yaml").read_text()
    assert load("probes.yaml", text, types=discover(), env=dict(lines), read=lambda path: (ROOT / path).read_bytes())


# --- Compose ---------------------------------------------------------------------------------------------------------


def test_compose_is_what_the_specification_says() -> None:
    services = compose_spec.PyCompose.from_yaml((DEPLOY / "compose.yaml").read_text()).service_names()
    assert set(services) == {"portal", "portal-monitor", "alertmanager", "prometheus", "grafana"}


def test_compose_names_files_that_are_there() -> None:
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), (name, source)
        if build := service.get("build"):
            assert (DEPLOY / build["context"] / build.get("dockerfile", "Dockerfile")).exists()
        assert service.get("build") or re.search(r":v?\d+\.\d+\.\d+$", service["image"]), f"{name}: pin the version"


def test_compose_starts_our_program_with_options_that_it_has() -> None:
    services = COMPOSE["services"]
    sandbox = parsed(["sandbox", *services["portal"]["command"]])
    daemon = parsed(services["portal-monitor"]["command"])
    assert daemon["path"] == f"{sandbox['folder']}/probes.yaml"
    assert sandbox["no_daemon"]
    parsed(services["portal"]["healthcheck"]["test"][2:])
    assert sandbox["alertmanager"] == "http://alertmanager:9093"
    assert sandbox["url"] == "http://portal-monitor:9877"


def test_the_sandbox_can_be_reached_by_the_containers_beside_it() -> None:
    known = pair.addresses(
        portal="http://127.0.0.1:1", log="/sandbox/combined.log", redis="redis://127.0.0.1:1", database="x", egress="x:1",
        whmcs="http://127.0.0.1:1", whmcs_identifier="x", whmcs_secret="x", salesforce="http://127.0.0.1:1",
        salesforce_key="x", freebit="http://127.0.0.1:1",
    )  # fmt: skip
    places = pair.Places("sqlite:///s.db", "0.0.0.0:9877", "http://alertmanager:9093", "http://portal-monitor:9877")
    made = yaml.safe_load(pair.probes_for((ROOT / "probes.yaml").read_text(), known, places))
    assert made["web"] == {"listen": "0.0.0.0:9877", "external_url": "http://portal-monitor:9877"}
    assert made["alertmanagers"] == [{"url": "http://alertmanager:9093"}]


def test_grafana_gets_the_data_source_that_the_dashboard_asks_for() -> None:
    (source,) = yaml.safe_load(COMPOSE["configs"]["grafana-datasources"]["content"])["datasources"]
    assert source["uid"] == "prometheus"
    assert yaml.safe_load(COMPOSE["configs"]["grafana-dashboards"]["content"])["providers"]


# --- systemd ---------------------------------------------------------------------------------------------------------


def settings(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_systemd_takes_the_unit_and_calls_it_well_protected(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is missing: this is no host of systemd's")
    copy = tmp_path / UNIT.name
    copy.write_text(
        UNIT.read_text().replace("/opt/portal-monitor/bin/portal-monitor", shutil.which("true") or "/bin/true")
    )
    said = run(analyze, "verify", copy)
    assert (said.returncode, said.stderr) == (0, "")
    score = run(analyze, "security", "--offline=true", "--threshold=15", "--no-pager", copy)
    assert score.returncode == 0, score.stdout[-300:]


def test_the_unit_starts_reloads_and_watches_what_the_program_can() -> None:
    (start,) = settings("ExecStart")
    assert parsed(shlex.split(start)[1:])["log_format"] == "json"
    assert settings("Type") == ["notify"]
    assert settings("ExecReload") == ["/bin/kill -HUP $MAINPID"]
    assert int(settings("WatchdogSec")[0]) >= 30  # it says each second that it is alive
    store = yaml.safe_load((ROOT / "probes.yaml").read_text())["store"]
    assert store.startswith(f"sqlite:///var/lib/{settings('StateDirectory')[0]}/")


# --- Kubernetes ------------------------------------------------------------------------------------------------------


def resources() -> dict[str, Any]:
    base = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())
    assert base["images"][0]["newTag"] == __version__
    return {name: yaml.safe_load((DEPLOY / "kubernetes" / name).read_text()) for name in base["resources"]}


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_takes_every_resource(version: str) -> None:
    for resource in resources().values():
        kubernetes_validate.validate(resource, version, strict=True)


def test_one_pod_that_writes_nowhere_but_to_its_volume() -> None:
    deployment = resources()["deployment.yaml"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (1, "Recreate")
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/var/lib/portal-monitor"]
    assert parsed(container["args"])["path"] == "/etc/portal-monitor/probes.yaml"
    assert deployment["selector"]["matchLabels"].items() <= deployment["template"]["metadata"]["labels"].items()
    assert resources()["service.yaml"]["spec"]["selector"] == deployment["selector"]["matchLabels"]


def test_everywhere_it_is_the_same_user() -> None:
    user = re.findall(r"^USER (\d+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user == re.findall(r"^USER (\d+)", (DEPLOY / "sandbox.Dockerfile").read_text(), re.MULTILINE) == ["10001"]
    assert COMPOSE["services"]["portal-monitor"]["user"] == "10001:10001"
    assert resources()["deployment.yaml"]["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 10001


@pytest.mark.parametrize("dockerfile", [ROOT / "Dockerfile", DEPLOY / "sandbox.Dockerfile"], ids=["image", "sandbox"])
def test_what_an_image_copies_is_there_and_is_not_ignored(dockerfile: Path) -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile.read_text(), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in allowed, source


# --- Prometheus and logrotate ----------------------------------------------------------------------------------------


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    promtool = tool("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: tools/fetch brings it where apt is")
    shutil.copy(DEPLOY / "prometheus.yml", tmp_path)
    shutil.copy(ROOT / "alerts/rules.yml", tmp_path)
    said = run(promtool, "check", "config", "prometheus.yml", folder=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "1 rule files found" in said.stdout


def test_logrotate_renames_and_makes_a_new_log_and_packs_only_older_ones(tmp_path: Path) -> None:
    logrotate = tool("logrotate")
    if logrotate is None:
        pytest.skip("logrotate is missing: tools/fetch brings it where apt is")
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    text = (DEPLOY / "logrotate.conf").read_text().replace("/var/log/bff", str(tmp_path / "logs"))
    text = text.replace("create 0640 bff adm", f"create 0640 {user} {group}").replace(
        "su bff adm", f"su {user} {group}"
    )
    text, replaced = re.subn(r"systemctl kill .* bff\.service", f"echo told >> {tmp_path}/told", text)
    assert replaced == 1
    (tmp_path / "logrotate.conf").write_text(text)
    log = tmp_path / "logs" / "combined.log"
    log.parent.mkdir(mode=0o700)
    for number in range(3):
        log.write_text(f"line {number}\n")
        inode = log.stat().st_ino
        said = run(logrotate, "--force", "--state", tmp_path / "state", tmp_path / "logrotate.conf")
        assert said.returncode == 0, said.stderr
        assert (tmp_path / "logs" / "combined.log.1").stat().st_ino == inode  # renamed, not copied
        assert (log.read_text(), log.stat().st_mode & 0o777) == ("", 0o640)
    names = sorted(path.name for path in log.parent.iterdir())
    assert names == ["combined.log", "combined.log.1", "combined.log.2.gz", "combined.log.3.gz"]
    assert (tmp_path / "told").read_text() == "told\n" * 3
