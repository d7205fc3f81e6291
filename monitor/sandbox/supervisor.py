"""`sandbox up`: the portal, an Alertmanager and the daemon, with a control for `break` and `heal`, until told to end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from monitor.sandbox import alertmanager, guardian, pair
from monitor.sandbox.outages import OUTAGES, Outage
from monitor.sandbox.pages import Page, Pages, as_json
from monitor.sandbox.portal import REQUESTS_PER_SECOND, ROOT, Child, Portal, tool, write_json
from monitor.sandbox.ports import Door, Port
from monitor.sandbox.remote import STATE, SandboxError, running
from monitor.sandbox.servers import ServerError

LISTEN = "127.0.0.1:9877"
NO_PAGES = "nobody is paged, and the console shows every incident. tools/fetch brings one where apt is."
STEPS = 3  # of a start
COLOURS = {"P1": "bold red", "P2": "red", "P3": "yellow", "P4": "cyan"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What `sandbox up` was asked for."""

    folder: Path
    daemon: bool = True
    listen: str = LISTEN
    requests_per_second: float = REQUESTS_PER_SECOND
    alertmanager: str = ""  # the address of one that runs elsewhere; else one is started here
    url: str = ""  # the console's address for others, if it is not `listen`
    shipped: Path = ROOT  # the folder with probes.yaml


def up(plan: Plan, console: Console | None = None) -> None:
    """Start everything, say where it is and what is paged, and end it on SIGINT, SIGTERM, SIGHUP or Ctrl-D.

    Raises SandboxError if one is up in this folder already, or if a part cannot be started.
    """
    if state := running(plan.folder):
        raise SandboxError(f"a sandbox is up in {plan.folder} already (process {state['pid']})")
    try:
        asyncio.run(Supervisor(plan, console or Console(highlight=False)).run())
    except (ServerError, pair.PairError) as error:
        raise SandboxError(str(error)) from error


class Supervisor:
    """Owns the portal, keeps the list of what is broken, and answers on the control port."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self.plan = plan
        self.folder = plan.folder.resolve()
        self.broken: set[str] = set()
        self._console = console
        self._pages = Pages(self.folder / "pages.jsonl")
        self._lock = asyncio.Lock()
        self._ending = asyncio.Event()
        routes = [
            Route("/status", self._status),
            Route("/pages", self._kept_pages),
            Route("/webhook", self._webhook, methods=["POST"]),
            Route("/break/{name}", self._break, methods=["POST"]),
            Route("/heal/{name}", self._heal, methods=["POST"]),
        ]
        self._door = Door(Starlette(routes=routes))

    async def run(self) -> None:
        self._obey_signals()
        await asyncio.to_thread(self._clear)
        async with contextlib.AsyncExitStack() as stack:
            control = Port()
            stack.callback(control.release)
            stack.push_async_callback(self._door.close)
            await self._door.open(control.number)
            self._control = f"http://127.0.0.1:{control.number}"
            with self._starting() as step:
                step("Redis, PostgreSQL, the BFF and the vendors")
                self.portal = Portal(self.folder, requests_per_second=self.plan.requests_per_second)
                await stack.enter_async_context(self.portal)
                step("Alertmanager")
                receiver = await self._start_alertmanager(stack)
                console_port = self._console_port(stack)
                config = self._configure(console_port, receiver)
                stack.callback((self.folder / STATE).unlink, missing_ok=True)
                step("the daemon")
                watcher = await self._start_daemon(stack, config, console_port) if self.plan.daemon else None
            state = {"pid": os.getpid(), "control": self._control, "portal": self.portal.bff_url, "config": str(config),
                     "console": f"http://127.0.0.1:{console_port}", "alertmanager": receiver,
                     "pids": self._pids(watcher)}  # fmt: skip
            self._show(state)
            write_json(self.folder / STATE, state)
            await self._ending.wait()
            self._say("Ending …")

    @contextlib.contextmanager
    def _starting(self) -> Iterator[Callable[[str], None]]:
        """Says what is being started: on a terminal as a bar that is gone in the end, elsewhere a line for each."""
        columns = (SpinnerColumn(), TextColumn("Starting {task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal) as bar:
            task = bar.add_task("", total=STEPS)
            done = 0

            def step(words: str) -> None:
                nonlocal done
                bar.update(task, description=f"{words} …", completed=done)
                done += 1
                if not self._console.is_terminal:
                    self._say(f"Starting {words} …")

            yield step

    # ── Starting ──────────────────────────────────────────────────────────────────────────────────────────────

    def _obey_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._end)
        if sys.stdin.isatty():  # elsewhere the end of the input means only that nobody types
            loop.add_reader(sys.stdin, self._read_terminal)

    def _end(self) -> None:
        if self._ending.is_set():
            os._exit(1)  # asked twice: go at once; the guardian ends what is left
        self._ending.set()

    def _read_terminal(self) -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            asyncio.get_running_loop().remove_reader(sys.stdin)
            self._ending.set()

    def _clear(self) -> None:
        """A new sandbox remembers nothing of the last one; PostgreSQL's empty cluster is kept, it takes long."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._outwait_the_last()
        for left in (STATE, "pages.jsonl", "daemon.log", *(path.name for path in self.folder.glob("state.db*"))):
            (self.folder / left).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "alertmanager", ignore_errors=True)

    def _outwait_the_last(self) -> None:
        """If the last one was killed just now, its guardian is still ending what it started."""
        try:
            last = json.loads((self.folder / STATE).read_text())["pids"]["guardian"]
        except (OSError, ValueError, KeyError):
            return
        deadline = time.monotonic() + 2 * guardian.PATIENCE_SECONDS
        while Path(f"/proc/{last}/cwd").exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    async def _start_alertmanager(self, stack: contextlib.AsyncExitStack) -> str | None:
        """Its address, or None where there is none: the rest goes on without."""
        if self.plan.alertmanager:
            return self.plan.alertmanager
        program = tool(alertmanager.PROGRAM) or tool("alertmanager")
        if not program:
            self._say(f"There is no Alertmanager on this machine: {NO_PAGES}", "yellow")
            return None
        folder = self.folder / "alertmanager"
        folder.mkdir()
        (folder / "alertmanager.yml").write_text(alertmanager.configuration(f"{self._control}/webhook"))
        port = Port()
        stack.callback(port.release)
        url = f"http://127.0.0.1:{port.number}"
        child = Child(alertmanager.command(program, folder, port.number), folder / "out.log", self.portal.guarded)
        child.start()
        stack.push_async_callback(child.stop)
        if not await child.ready(f"{url}/-/ready"):
            self._say(f"Alertmanager did not start, see {child.log}: {NO_PAGES}", "bold red")
            return None
        return url

    def _console_port(self, stack: contextlib.AsyncExitStack) -> int:
        host, _, number = self.plan.listen.rpartition(":")
        known = {"127.0.0.1"} if self.plan.daemon else {"127.0.0.1", "0.0.0.0"}
        if host not in known or not number.isdigit():
            raise SandboxError(f'"{self.plan.listen}" is no address for the sandbox; write 127.0.0.1:9877')
        try:
            port = Port(int(number))
        except OSError as error:
            raise SandboxError(f"{self.plan.listen} is taken; choose another with --listen 127.0.0.1:9878") from error
        stack.callback(port.release)
        return port.number

    def _configure(self, port: int, receiver: str | None) -> Path:
        host = self.plan.listen.rpartition(":")[0]
        places = pair.Places(f"sqlite://{self.folder}/state.db", f"{host}:{port}", receiver, self.plan.url)
        return pair.write(self.folder, self.plan.shipped, self.portal.addresses(), places)

    async def _start_daemon(self, stack: contextlib.AsyncExitStack, config: Path, port: int) -> Child:
        command = [sys.executable, "-m", "monitor", "run", "-c", str(config)]
        child = Child(command, self.folder / "daemon.log", self.portal.guarded)
        child.start()
        stack.push_async_callback(child.stop)
        if not await child.ready(f"http://127.0.0.1:{port}/-/ready"):
            last = child.log.read_text(errors="replace").strip().splitlines()[-3:]
            self._say("\n".join((f"The daemon did not become ready; see {child.log}:", *last)), "bold red")
        return child

    def _pids(self, watcher: Child | None) -> Mapping[str, int | None]:
        return {"redis": self.portal.redis.pid, "postgres": self.portal.postgres.pid, "bff": self.portal.bff.pid,
                "daemon": watcher.pid if watcher else None, "guardian": self.portal.guarded.pid}  # fmt: skip

    # ── Talking ───────────────────────────────────────────────────────────────────────────────────────────────

    def _say(self, words: str, style: str = "") -> None:
        self._console.print(Text(words, style), soft_wrap=True)

    def _show(self, state: Mapping[str, Any]) -> None:
        table = Table.grid(padding=(0, 2))
        rows = {
            "Console": state["console"] if self.plan.daemon else "no daemon (--no-daemon)",
            "Portal": f"{state['portal']}/  and /health",
            "Alertmanager": state["alertmanager"] or "none",
            "Logs": str(self.portal.logs / "combined.log"),
            "Configuration": state["config"],
        }
        for name, value in rows.items():
            table.add_row(Text(name, "bold"), value)
        self._console.print(table)
        self._say_login(state["console"])
        where = "" if self.plan.folder == Path(".sandbox") else f" --folder {self.plan.folder}"
        self._say(f"\nBreak Redis, in another terminal:  portal-monitor sandbox break redis{where}")
        self._say(f"and heal it:                       portal-monitor sandbox heal redis{where}")
        self._say(f"Everything that can be broken:     portal-monitor sandbox list\n{'Ctrl-C ends all.'}\n")

    def _say_login(self, console: str) -> None:
        """The address that fills in the token. It stands behind the #, so that a browser keeps it to itself."""
        with contextlib.suppress(OSError):
            token = (self.folder / "token").read_text().strip()
            self._say(f"\nTo acknowledge, note, resolve: {console}/login#token={token}")

    def _announce(self, page: Page) -> None:
        colour = "green" if page.status == "resolved" else COLOURS.get(page.labels.get("severity", ""), "")
        self._say(page.shown(), colour)

    # ── The control ───────────────────────────────────────────────────────────────────────────────────────────

    async def _status(self, _request: Request) -> Response:
        waiting = self.portal.salesforce.waiting()
        return JSONResponse({"broken": sorted(self.broken), "orders_waiting": waiting})

    async def _kept_pages(self, _request: Request) -> Response:
        return JSONResponse([as_json(page) for page in self._pages.kept])

    async def _webhook(self, request: Request) -> Response:
        for page in self._pages.receive(await request.json()):
            self._announce(page)
        return Response(status_code=204)

    async def _break(self, request: Request) -> Response:
        outage = OUTAGES[request.path_params["name"]]
        async with self._lock:
            if outage.name in self.broken:
                return JSONResponse({"said": f"{outage.name} is broken already"}, 409)
            self.broken.add(outage.name)
            if outage.heals_itself_after is None:
                await outage.begin(self.portal)
            else:
                self.portal.keep(outage.name, self._pass_by(outage))
        tail = "" if outage.heals_itself_after is None else ". It heals by itself"
        return self._told(f"{outage.sentence}{tail}.")

    async def _pass_by(self, outage: Outage) -> None:
        try:
            await outage.begin(self.portal)
        finally:
            self.broken.discard(outage.name)
        self._told(f"{outage.name} has healed by itself.")

    async def _heal(self, request: Request) -> Response:
        outage = OUTAGES[request.path_params["name"]]
        async with self._lock:
            if outage.name not in self.broken:
                return JSONResponse({"said": f"{outage.name} is not broken"}, 409)
            if outage.heals_itself_after is not None:
                return JSONResponse({"said": f"{outage.name} heals by itself; wait a moment"}, 409)
            await outage.end(self.portal)
            self.broken.discard(outage.name)
        return self._told(f"{outage.name} is healed.")

    def _told(self, words: str) -> Response:
        self._say(f"{time.strftime('%H:%M:%S')}  {words}", "dim")
        return JSONResponse({"said": words})
