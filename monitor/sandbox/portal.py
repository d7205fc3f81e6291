"""The small portal itself: its parts, started in order, watched over, and ended whatever happens to us."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import httpx
import msgspec
import psycopg
from psycopg.sql import SQL, Identifier, Literal
from starlette.types import ASGIApp

from monitor.sandbox import bff, guardian, pair
from monitor.sandbox.ports import Door, Port, way_out
from monitor.sandbox.servers import PostgresServer, RedisServer
from monitor.sandbox.vendors import Freebit, Salesforce, Whmcs

ROOT = Path(__file__).resolve().parents[2]
REQUESTS_PER_SECOND = 25.0
REDIS_BYTES = 32 * 2**20
SETTINGS = "SF_EVENTS_ENABLED=true\nSF_EVENTS_REPLAY=LATEST\nAUTH_BLACKLIST_FAIL_CLOSED=false\n"  # of the BFF
POSTGRES_CONNECTIONS = 30
READY_SECONDS = 20.0


def tool(name: str) -> str | None:
    """The path of a program: unpacked in `.tools/`, or on PATH."""
    unpacked = ROOT / ".tools/usr/bin" / name
    return str(unpacked) if unpacked.exists() else shutil.which(name)


class Guarded:
    """Our end of the guardian's lifeline: it ends the processes named here when this process is gone."""

    def __init__(self) -> None:
        # A session of its own, or Ctrl-C would end the guardian before what it guards.
        command = [sys.executable, "-I", "-S", guardian.__file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, text=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def add(self, pid: int | None, number: int = signal.SIGTERM) -> None:
        """Guard this process; `number` is the signal that ends it cleanly."""
        if pid is not None and self._process.stdin:
            self._process.stdin.write(f"{pid} {number:d}\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """Let it end what is left, and wait until it has."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()


class Child:
    """A process whose output goes to a file, ended by its id."""

    def __init__(self, command: list[str], log: Path, guarded: Guarded) -> None:
        self.log = log
        self._command = command
        self._guarded = guarded
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._guarded.add(self.pid)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    async def ready(self, url: str) -> bool:
        """Wait until this address answers 200; false if the process ends first or does not get there in time."""
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=1) as client:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(READY_SECONDS):
                    while self.pid is not None:
                        with contextlib.suppress(httpx.HTTPError):
                            if (await client.get(url)).status_code == 200:
                                return True
                        await asyncio.sleep(0.05)
        return False

    async def stop(self) -> None:
        """End it, patiently at first."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            await asyncio.to_thread(self._reap)

    def _reap(self) -> None:
        assert self._process
        try:
            self._process.wait(6)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class BffProcess:
    """The BFF as a process that is started, told what to do, and stopped or killed."""

    def __init__(self, settings: bff.Settings, guarded: Guarded) -> None:
        self._settings = settings
        self._guarded = guarded
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it so that it could listen; it does once it is told to."""
        command = [sys.executable, "-m", bff.__name__]
        with self._output() as out:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        self._guarded.add(self.pid)
        await self._say(self._settings)

    def _output(self) -> BinaryIO:
        return Path(self._settings.logs, "bff.out").open("ab")

    async def tell(self, order: bff.Order) -> None:
        """Have it do this; returns once it does."""
        await self._say(order)

    async def _say(self, words: msgspec.Struct) -> None:
        if not self._process or not self._process.stdin or not self._process.stdout:
            return
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(msgspec.json.encode(words) + b"\n")
            await self._process.stdin.drain()
        if not await self._process.stdout.readline():
            raise RuntimeError(f"the BFF ended; see {self._settings.logs}/bff.out")

    async def stop(self) -> None:
        """Let it finish: the end of its input is the end of it."""
        if self._process and self._process.stdin and self._process.returncode is None:
            self._process.stdin.close()
            await self._gone()

    async def kill(self) -> None:
        """End it as a crash would."""
        if self.pid and self._process:
            self._process.kill()
            await self._gone()

    async def _gone(self) -> None:
        assert self._process
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Site:
    """A vendor: one door with two ports, the BFF's way to it and the monitor's, so that only one can be cut."""

    def __init__(self, app: ASGIApp) -> None:
        self._door = Door(app)
        self._inside, self._outside = Port(), Port()

    @property
    def inside(self) -> str:
        return f"http://127.0.0.1:{self._inside.number}"

    @property
    def outside(self) -> str:
        return f"http://127.0.0.1:{self._outside.number}"

    @property
    def outside_port(self) -> int:
        return self._outside.number

    async def open(self) -> None:
        await self._door.open(self._inside.number)
        await self.reconnect()

    async def reconnect(self) -> None:
        await self._door.open(self._outside.number)

    def cut(self) -> None:
        """The monitor's way to it is gone; the BFF's is not."""
        self._door.shut(self._outside.number)

    def shut(self) -> None:
        self._door.shut_all()

    async def close(self) -> None:
        await self._door.close()
        self._inside.release()
        self._outside.release()


class Portal:
    """Everything that is watched, in one folder; an async context manager that starts it and ends it."""

    def __init__(self, folder: Path, *, requests_per_second: float = REQUESTS_PER_SECOND) -> None:
        self.folder = folder.resolve()
        self._ports = [Port() for _ in range(4)]
        redis_port, postgres_port, bff_port, egress_port = (port.number for port in self._ports)
        limits = {"maxmemory": str(REDIS_BYTES), "maxmemory-policy": "noeviction", "appendonly": "yes"}
        self.redis = RedisServer(self.folder / "redis", redis_port, limits)
        slots = {"max_connections": str(POSTGRES_CONNECTIONS), "superuser_reserved_connections": "3"}
        self.postgres = PostgresServer(self.folder / "postgres", postgres_port, slots)
        self._passwords = {role: secrets.token_hex(12) for role in ("portal", "monitor")}
        self.whmcs = Whmcs("sandbox-identifier", secrets.token_hex(12))
        self.salesforce = Salesforce()
        self.freebit = Freebit("sandbox-oem", secrets.token_hex(12))
        self.sites = {name: Site(vendor.app) for name, vendor in self._vendors().items()}
        self.whmcs.strangers_port = self.sites["whmcs"].outside_port
        self.egress_port = egress_port
        self.egress = Door(way_out)
        self.bff_url = f"http://127.0.0.1:{bff_port}"
        self._settings = self._bff_settings(bff_port, requests_per_second)
        self.order = bff.Order()
        self.slots_taken = asyncio.Event()
        self._slot_holders: list[psycopg.AsyncConnection[Any]] = []
        self.lasting: dict[str, asyncio.Task[None]] = {}  # what an outage keeps doing, by its name
        self._stack = contextlib.AsyncExitStack()

    def _vendors(self) -> Mapping[str, Whmcs | Salesforce | Freebit]:
        return {"whmcs": self.whmcs, "salesforce": self.salesforce, "freebit": self.freebit}

    def _bff_settings(self, port: int, requests_per_second: float) -> bff.Settings:
        return bff.Settings(
            port=port, logs=str(self.logs), redis_url=self.redis.url, database_url=self.database_url("portal"),
            whmcs_url=f"{self.sites['whmcs'].inside}/includes/api.php", whmcs_identifier=self.whmcs.identifier,
            whmcs_secret=self.whmcs.secret, salesforce_url=self.sites["salesforce"].inside,
            freebit_url=self.sites["freebit"].inside, freebit_oem_id=self.freebit.oem_id,
            freebit_oem_key=self.freebit.oem_key, requests_per_second=requests_per_second,
        )  # fmt: skip

    @property
    def logs(self) -> Path:
        """The folder with combined.log and error.log."""
        return self.folder / "logs"

    def database_url(self, role: str) -> str:
        """The database as the role `portal` or `monitor` gets in; neither is a superuser."""
        return f"postgresql://{role}:{self._passwords[role]}@127.0.0.1:{self.postgres.port}/postgres"

    def addresses(self) -> pair.Addresses:
        """Where the monitor finds everything."""
        return pair.addresses(
            portal=self.bff_url, log=str(self.logs / "combined.log"), redis=self.redis.url,
            database=self.database_url("monitor"), egress=f"127.0.0.1:{self.egress_port}",
            whmcs=f"{self.sites['whmcs'].outside}/includes/api.php", whmcs_identifier=self.whmcs.identifier,
            whmcs_secret=self.whmcs.secret, salesforce=self.sites["salesforce"].outside,
            salesforce_key=self.salesforce.private_key(), freebit=f"{self.sites['freebit'].outside}/emptool/api/authOem/",
        )  # fmt: skip

    # ── Life ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in (self.redis.folder, self.logs):
            shutil.rmtree(left, ignore_errors=True)
        self.logs.mkdir()
        (self.logs / "bff.env").write_text(SETTINGS)
        for port in self._ports:
            stack.callback(port.release)
        self.guarded = Guarded()
        stack.push_async_callback(asyncio.to_thread, self.guarded.close)
        stack.push_async_callback(asyncio.to_thread, self.redis.stop)
        stack.push_async_callback(asyncio.to_thread, self.postgres.stop)
        self.bff = BffProcess(self._settings, self.guarded)
        await asyncio.gather(self.start_redis(), self._start_database(), self._open_sites(stack))
        stack.push_async_callback(self._stop_bff)
        await self.bff.start()
        await self.bff.tell(self.order)
        approving = asyncio.create_task(self.salesforce.approve())
        stack.push_async_callback(_cancelled, approving)
        stack.push_async_callback(self._drop_all)

    async def _open_sites(self, stack: contextlib.AsyncExitStack) -> None:
        for site in self.sites.values():
            stack.push_async_callback(site.close)
            await site.open()
        stack.push_async_callback(self.egress.close)
        await self.egress.open(self.egress_port)

    async def start_redis(self) -> None:
        await asyncio.to_thread(self.redis.start)
        self.guarded.add(self.redis.pid)

    async def start_postgres(self) -> None:
        await asyncio.to_thread(self.postgres.start)
        self.guarded.add(self.postgres.pid, signal.SIGINT)  # SIGTERM would wait for its clients

    async def _start_database(self) -> None:
        await self.start_postgres()
        async with await psycopg.AsyncConnection.connect(self.postgres.url, autocommit=True) as connection:
            for role, password in self._passwords.items():
                await connection.execute(SQL(
                    "DO $$ BEGIN CREATE ROLE {0} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
                ).format(Identifier(role)))  # fmt: skip
                await connection.execute(SQL("ALTER ROLE {0} PASSWORD {1}").format(Identifier(role), Literal(password)))
            await connection.execute("GRANT pg_monitor TO monitor")
            await connection.execute("CREATE TABLE IF NOT EXISTS orders (id bigserial PRIMARY KEY, plan text NOT NULL)")
            await connection.execute("GRANT ALL ON orders, orders_id_seq TO portal")

    async def _stop_bff(self) -> None:
        await self.bff.stop()

    async def _drop_all(self) -> None:
        for name in list(self.lasting):
            await self.drop(name)

    async def _leave_slots(self) -> None:
        for connection in self._slot_holders:
            await connection.close()
        self._slot_holders.clear()

    # ── What outages do ───────────────────────────────────────────────────────────────────────────────────────

    def keep(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Go on with this until `drop(name)`, or until the sandbox ends."""
        task = self.lasting[name] = asyncio.create_task(work)
        return task

    async def drop(self, name: str) -> None:
        if task := self.lasting.pop(name, None):
            await _cancelled(task)

    async def tell_bff(self, **changes: Any) -> None:
        """Change what the BFF was told; one that is down is told when it is back."""
        self.order = msgspec.structs.replace(self.order, **changes)
        if self.bff.pid:
            await self.bff.tell(self.order)

    async def new_bff(self) -> BffProcess:
        """A BFF that is warm and does not listen yet."""
        fresh = BffProcess(self._settings, self.guarded)
        await fresh.start()
        return fresh

    async def take_slots(self) -> None:
        """Take every connection slot that PostgreSQL has left for ordinary users, and what becomes free, for ever.

        `slots_taken` is set once there was none left.
        """
        try:
            while True:
                with contextlib.suppress(psycopg.OperationalError):
                    self._slot_holders.append(await psycopg.AsyncConnection.connect(self.database_url("portal")))
                    continue
                self.slots_taken.set()
                await asyncio.sleep(0.1)
        finally:
            self.slots_taken.clear()
            await self._leave_slots()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def write_json(path: Path, value: Any) -> None:
    """Write the file as a whole, so that no reader sees half of it; only its owner may read it."""
    half = path.with_name(f"{path.name}.new")
    half.touch(mode=0o600)
    half.write_text(json.dumps(value, indent=2))
    half.replace(path)
