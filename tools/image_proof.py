"""Proves an image that tools/image built: what it says of itself, what is not in it, and that it runs as it will.

    image_proof.py ROOT CONFIGURATION

ROOT is its file system, mounted; CONFIGURATION what `buildah inspect` says of it. Its own command runs in ROOT, read-only but for
the volume, as its own user; it is healthy by its own health check, reloads on SIGHUP and ends on SIGTERM with 0.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STATE = "/var/lib/portal-monitor"
SETTINGS = {
    "REDIS_URL": "redis://127.0.0.1:9", "DATABASE_URL": "postgresql://127.0.0.1:9/portal", "PORTAL_URL": "http://127.0.0.1:9",
    "WHMCS_API_URL": "http://127.0.0.1:9/api.php", "WHMCS_API_IDENTIFIER": "an-identifier", "WHMCS_API_SECRET": "a-secret",
    "SF_INSTANCE_URL": "http://127.0.0.1:9", "ALERTMANAGER_URL": "http://127.0.0.1:9", "MONITOR_LISTEN": "0.0.0.0:19877",
}  # fmt: skip
BUILDERS = ("gcc", "cc", "make", "pip", "pip3", "git")


def main(root: Path, configuration: dict[str, Any]) -> None:
    said = configuration["config"]
    assert said["User"] == "10001", said["User"]
    assert said["Entrypoint"] == ["portal-monitor"], "the daemon itself gets the signals, no shell"
    assert said["Healthcheck"]["Test"][0] == "CMD"
    assert said["StopSignal"] == "SIGTERM"
    assert STATE in said["Volumes"]
    labels = {name: value for name, value in said["Labels"].items() if name.startswith("org.opencontainers.image.")}
    assert {name.rpartition(".")[2] for name in labels} >= {"title", "description", "licenses", "version", "revision"}
    found = [path for name in BUILDERS for folder in ("usr/bin", "usr/local/bin", "opt/portal-monitor/bin")
             if (path := root / folder / name).exists()]  # fmt: skip
    assert found == [], found
    packages = next((root / "opt/portal-monitor/lib").glob("python3*/site-packages"))
    assert (packages / "monitor/daemon.py").exists()
    assert not (packages / "monitor/sandbox").exists()
    assert not (root / "etc/pip.conf").read_text() if (root / "etc/pip.conf").exists() else True
    environment = dict(item.split("=", 1) for item in said["Env"]) | SETTINGS
    size = sum(path.lstat().st_size for path in (root / "opt").rglob("*") if path.is_file()) / 1e6
    print(f"labels {labels}\nour own part of the image: {size:.0f} MB")
    live(root, said, environment)


def live(root: Path, said: dict[str, Any], environment: dict[str, str]) -> None:
    """Start it, ask its health check, reload it, end it."""
    log = root.parent / "proof.log"
    started = time.monotonic()
    with log.open("wb") as out:
        daemon = subprocess.Popen(
            inside(root, said["User"], [*said["Entrypoint"], *said["Cmd"]]), stdout=out, stderr=out, env=environment
        )
    try:

        def healthy() -> bool:
            space = ["nsenter", f"--target={daemon.pid}", "--mount", f"--root=/proc/{daemon.pid}/root", "--wd=/"]
            check = [*space, "--setuid=10001", "--setgid=10001", *said["Healthcheck"]["Test"][1:]]
            return subprocess.run(check, env=environment, capture_output=True, check=False).returncode == 0

        wait(daemon, log, healthy, "its health check")
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        assert f"Uid:\t{said['User']}\t" in status
        assert "CapEff:\t0000000000000000" in status
        print(f"healthy after {time.monotonic() - started:.1f} s, as user {said['User']}, on a read-only root")
        daemon.send_signal(signal.SIGHUP)
        wait(daemon, log, lambda: '"reloaded"' in log.read_text(), "the reload")
        daemon.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        assert daemon.wait(timeout=15) == 0
        print(f"reloaded on SIGHUP; ended with 0 on SIGTERM in {time.monotonic() - asked:.1f} s")
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]
    finally:
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait()


def inside(root: Path, user: str, command: list[str]) -> list[str]:
    """The command in mounts of its own: all of `root` read-only, the volume in memory."""
    place = shlex.quote(str(root))
    steps = [
        f"mount --bind {place} {place}",
        f"mount -o remount,ro,bind {place}",
        f"mount -t tmpfs -o uid={user},mode=0700 tmpfs {place}{STATE}",
        f"mount --rbind /dev {place}/dev",
        f"mount -t proc proc {place}/proc",
        f"! touch {place}/etc/written 2>/dev/null",
        f"exec chroot --userspec={user}:{user} {place} env -C / {shlex.join(command)}",
    ]
    return ["unshare", "--mount", "sh", "-ec", " && ".join(steps)]


def wait(daemon: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert daemon.poll() is None, f"it ended with {daemon.returncode}: {log.read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"{what} did not come: {log.read_text()[-3000:]}"
        time.sleep(0.2)


if __name__ == "__main__":
    assert os.geteuid() == 0, "mounts need root"
    main(Path(sys.argv[1]), json.loads(sys.argv[2])["Docker"])
