"""How fast and how frugal logs are read: against mtail in the same run, with the counts compared.

`bench/logs.py [MEGABYTES]` (default 400). The log comes from the real pino where Node and npm are, else from lines that
it wrote once. CPU seconds are user and system time of all processes. Start-up is included, but for the daemon's, which
starts once. What other probes feel of a log being read is in `bench/beside.py`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import re
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

from monitor.logs.follow import Follower
from monitor.logs.journal import Desk, Journal
from monitor.logs.scan import UPSTREAMS, Spec
from monitor.logs.worker import Worker
from tests.servers import tool

HERE, ROOT = Path(__file__).parent, Path(__file__).parent.parent
BEGAN = 1795453000
ROUNDS = 5
VENDORS = {**UPSTREAMS, "stripe": "(?i)stripe"}
TEXT = (
    r"(?P<time>\S+Z) \[(?P<level>[A-Z]+)\] (?P<message>\[\w+\] \w+)"
    r"(?:.* status=(?P<status>\d+))?(?:.* (?:responseTime|duration)=(?P<duration>[\d.]+)ms)?"
)
JSON_SPEC = Spec(upstreams=VENDORS, patterns={"events": "Platform Event"})
TEXT_SPEC = Spec(format="text", text=TEXT, upstreams=VENDORS, patterns={"events": "Platform Event"})
Counts = dict[str, float]


# ---- the logs


def make_json(path: Path, size: int) -> str:
    modules = ROOT / ".tools" / "pino"
    if shutil.which("node") and shutil.which("npm"):
        if not (modules / "node_modules" / "pino").exists():
            modules.mkdir(parents=True, exist_ok=True)
            npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(modules), "pino@10"]
            subprocess.run(npm, check=False, capture_output=True)
        environment = {**os.environ, "PINO_MODULES": str(modules / "node_modules")}
        done = subprocess.run(
            ["node", HERE / "pino.js", path, str(size)], env=environment, check=False, capture_output=True
        )
        if done.returncode == 0:
            return "written by pino"
    shapes = [line for line in (HERE / "pino_shapes.ndjson").read_bytes().splitlines(keepends=True) if line.strip()]
    chance, now = random.Random(7), BEGAN * 1000.0
    with path.open("wb") as out:
        while out.tell() < size:
            now += chance.expovariate(1 / 33)
            line = re.sub(rb'"time":\d+', b'"time":%d' % now, chance.choice(shapes), count=1)
            took = chance.lognormvariate(4.4, 0.7)
            out.write(re.sub(rb'"responseTime":\d+', b'"responseTime":%d' % took, line, count=1))
    return "from lines that pino wrote"


def make_text(path: Path, size: int) -> None:
    chance, now = random.Random(7), float(BEGAN)
    with path.open("w") as out:
        written = 0
        while written < size:
            now += chance.expovariate(80)
            stamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")[:23] + "Z"
            written += out.write("".join(_text_lines(chance, stamp)))


def _text_lines(chance: random.Random, stamp: str) -> Iterator[str]:
    roll, took = chance.random(), chance.lognormvariate(4.4, 0.7)
    path = f"/api/orders/{chance.randrange(10**6)}/items?page={chance.randrange(9)}&correlation={chance.getrandbits(64):016x}"
    if roll < 0.5:
        status = chance.choice((500, 502, 503)) if chance.random() < 0.012 else 200
        yield f"{stamp} [INFO] [HttpLogger] GET {path.replace('=', ':')} from 203.0.113.9 status={status} responseTime={took:.0f}ms\n"
    elif roll < 0.7:
        api = chance.choice(("Salesforce", "WHMCS", "Freebit", "Stripe"))
        yield f"{stamp} [INFO] [Vendors] {api} call of {path.replace('=', ':')} completed duration={took:.2f}ms\n"
    elif roll < 0.94:
        yield f"{stamp} [DEBUG] [OrderOrchestrator] Order {path.replace('=', ':')} moved to the next step of its provisioning\n"
    else:
        yield f"{stamp} [ERROR] [Worker] Job failed for order {chance.randrange(10**6)}\n"
        for depth in range(6):
            yield f"    at Provisioning.step{depth} (/app/dist/provisioning/steps/step{depth}.service.js:{chance.randrange(900)}:17)\n"


# ---- the runners: each gives CPU seconds, wall seconds and counts


def cpu_of(command: list[str]) -> tuple[float, float, str]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr[-500:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - began, done.stdout


def run_mtail(program: Path, log: Path) -> tuple[float, float, Counts]:
    binary = tool("mtail")
    assert binary
    cpu, wall, out = cpu_of([
        binary, "--one_shot", "--one_shot_format=prometheus", "--address", "127.0.0.1", "--port", "0",
        "--progs", str(program), "--logs", str(log)])  # fmt: skip

    def total(pattern: str) -> float:
        return sum(float(value) for value in re.findall(rf"^{pattern}\S* ([\d.e+]+)$", out, re.MULTILINE))

    counts = {"lines": total("lines_total"), "errors": total("errors_total"), "requests": total("http_responses_total")}
    counts["events"] = total("events_total")
    calls = {
        f"{api.lower()}_ms": total(rf'upstream_ms_sum{{api="{api}"')
        for api in ("Salesforce", "WHMCS", "Freebit", "Stripe")
    }
    return cpu, wall, {**counts, "5xx": total("http_5xx_total"), "request_ms": total("request_ms_sum"), **calls}


def run_command(log: Path) -> tuple[float, float, Counts]:
    """`portal-monitor scan --json FILE`, as a user runs it."""
    return _counted(cpu_of([sys.executable, "-m", "monitor", "scan", "--json", str(log)]))


def run_scan(spec: str, log: Path) -> tuple[float, float, Counts]:
    """The same as a configured probe reads it, with a pattern and one more upstream."""
    code = (
        "import sys, json, msgspec; from monitor.logs.summary import scan_file; from monitor.logs.scan import Spec;"
        "print(json.dumps(scan_file(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Spec)).as_json()))"
    )
    return _counted(cpu_of([sys.executable, "-c", code, str(log), spec]))


def _counted(done: tuple[float, float, str]) -> tuple[float, float, Counts]:
    cpu, wall, out = done
    found = json.loads(out)
    latency = {name or "request": one["count"] * one["mean_seconds"] * 1000 for name, one in found["latency"].items()}
    counts = {"lines": found["lines"], "errors": found["error_lines"], "requests": found["requests"]} | found["matches"]
    return cpu, wall, {**counts, "5xx": found["server_errors"], **{f"{name}_ms": ms for name, ms in latency.items()}}


def cpu_seconds(child: int | None) -> float:
    """Of this process and its reading process."""
    fields = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split() if child else ["0"] * 20
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_daemon(spec: str, log: Path) -> tuple[float, float, Counts]:
    cpu, wall, out = cpu_of([sys.executable, __file__, "daemon", str(log), spec])
    counts = json.loads(out.splitlines()[-1])  # after what it logs
    return cpu - counts.pop("start_cpu"), wall, counts


def daemon(log: str, spec: Spec) -> None:
    """The daemon's own path: followed, read in the child, windows and sketches kept, state saved in SQLite.

    The clock goes with the log, so that every line falls into a window, as it does when the log is written.
    """
    gc.freeze()  # as the daemon does
    worker = Worker()
    worker.start()
    started = cpu_seconds(worker.pid)
    first, last, size = _times(log, spec)
    follower = Follower(log)

    def wall() -> float:
        offset = follower.current.place.offset if follower.current else 0
        return first + (last - first) * min(1.0, (offset + 2**22) / size) + 30

    journal = Journal(log, spec, worker, time.monotonic, wall, 300.0)
    journal.followers[log] = follower
    journal._expanded_at = time.monotonic() + 1e6  # noqa: SLF001 - the whole file is to be read, not only its end
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(f"{folder}/state.db")) as store:
        store.execute("CREATE TABLE state (saved BLOB)")
        journal.look()
        while journal.advance():
            blob = journal.freeze()
            if blob:
                with store:
                    store.execute("DELETE FROM state")
                    store.execute("INSERT INTO state VALUES (?)", (blob,))
    worker.stop()
    totals = journal.totals
    counts = {"lines": totals.lines, "errors": totals.errors, "requests": totals.requests, "5xx": totals.server_errors}
    counts |= totals.matches
    sums = {f"{name or 'request'}_ms": count.sum_ms for name, count in totals.latencies.items()}
    print(json.dumps({**counts, **sums, "start_cpu": started}))


def _times(log: str, spec: Spec) -> tuple[float, float, int]:
    from monitor.logs.scan import Scanner

    scanner, path = Scanner(spec), Path(log)
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(100_000).splitlines()
        file.seek(max(0, size - 100_000))
        tail = file.read().splitlines()[1:]
    times = [at for at in map(scanner.time_of, (*head, *tail)) if at is not None]
    return min(times), max(times), size


def compare(title: str, log: Path, program: Path, spec: Spec, wanted: dict[str, float]) -> None:
    packed = json.dumps({name: getattr(spec, name) for name in spec.__struct_fields__})
    runners: dict[str, Callable[[], tuple[float, float, Counts]]] = {
        "mtail": lambda: run_mtail(program, log),
        **({"scan": lambda: run_command(log)} if spec is JSON_SPEC else {}),
        "probe": lambda: run_scan(packed, log),
        "daemon": lambda: run_daemon(packed, log),
    }
    rounds: list[dict[str, tuple[float, float, Counts]]] = []
    for _ in range(ROUNDS):
        rounds.append({name: run() for name, run in runners.items()})
        for name, (_, _, counts) in rounds[-1].items():
            for key, value in rounds[-1]["mtail"][2].items():
                if name == "scan" and key in ("stripe_ms", "events"):
                    continue  # no upstream and no pattern of ours unless it is configured
                if abs(counts.get(key, 0) - value) > max(1e-6 * value, 0):
                    raise SystemExit(f"{name} counts {counts.get(key)} {key}, mtail {value}")
    megabytes = log.stat().st_size / 1e6
    print(
        f"{title}: {megabytes:.0f} MB, {rounds[0]['mtail'][2]['lines']:.0f} lines; equal counts and sums in all rounds"
    )
    for name in runners:
        cpu = statistics.median(one[name][0] for one in rounds)
        ratio = statistics.median(one["mtail"][0] / one[name][0] for one in rounds)
        wall = statistics.median(one["mtail"][1] / one[name][1] for one in rounds)
        aim = f"(aim: {wanted[name]:.0f})" if name in wanted else ""
        print(
            f"  {name:7} {cpu:6.2f} CPU s  {megabytes / cpu:5.0f} MB/CPU s  {ratio:5.1f} x mtail {aim}  wall {wall:.1f} x"
        )


# ---- frugality


class Kept:
    """Keeps a state in memory."""

    key = "log"
    saved: bytes | None = None

    def now(self) -> float:
        return time.time()

    async def save(self, state: bytes) -> None:
        self.saved = state


def resident_megabytes(pid: int | str) -> float:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


async def first_look(log: Path, lines: Path) -> None:
    """A first look at a gigabyte whose end is now: only the windows are read."""
    now, size = time.time(), 0
    with log.open("wb") as out:
        block = lines.read_bytes()[: 50 * 2**20].rsplit(b"\n", 1)[0] + b"\n"
        while size < 10**9:
            size += out.write(block)
        out.write(b"".join(b'{"level":30,"time":%d,"msg":"now"}\n' % ((now - 900 + n) * 1000) for n in range(900)))
    desk, began = Desk(), time.monotonic()
    before = resident_megabytes("self")
    async with desk.journal(str(log), Spec(), 300.0, Kept()) as journal:
        while journal.caught_up_at is None:
            await desk.news(0.1)
        took = time.monotonic() - began
        child = resident_megabytes(desk.worker.pid or "self")
        print(
            f"first look at 1 GB: {took * 1000:.0f} ms, {journal.totals.lines} lines read; child {child:.0f} MB, parent +{resident_megabytes('self') - before:.0f} MB"
        )


async def quiet_files(folder: Path) -> None:
    """What a hundred logs cost in which nothing happens, and how soon a line in one is seen."""
    desk, kept = Desk(), []
    async with AsyncExitStack() as stack:
        for number in range(100):
            path = folder / f"quiet{number}.log"
            path.write_bytes(b'{"level":30}\n')
            kept.append(await stack.enter_async_context(desk.journal(str(path), Spec(), 300.0, Kept())))
        await asyncio.sleep(3)
        used = cpu_seconds(desk.worker.pid)
        await asyncio.sleep(20)
        print(f"100 quiet files: {(cpu_seconds(desk.worker.pid) - used) / 20:.2%} of a core (aim: 0.5%)")
        seen = []
        for number in range(20):
            await asyncio.sleep(random.random())
            began, version = time.monotonic(), kept[number].version
            with (folder / f"quiet{number}.log").open("ab") as out:
                out.write(b'{"level":50}\n')
            while kept[number].version == version:
                await desk.news(1.0)
            seen.append(time.monotonic() - began)
        print(
            f"a line is counted {statistics.median(seen) * 1000:.0f} ms after it was written, at most {max(seen) * 1000:.0f} ms"
        )


def main() -> None:
    size = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 400_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        how = make_json(folder / "pino.log", size)
        if tool("mtail"):
            compare(
                f"pino JSON ({how})",
                folder / "pino.log",
                HERE / "pino.mtail",
                JSON_SPEC,
                {"scan": 7, "probe": 7, "daemon": 6},
            )
            make_text(folder / "text.log", size)
            compare("plain text", folder / "text.log", HERE / "text.mtail", TEXT_SPEC, {"probe": 3, "daemon": 3})
            (folder / "text.log").unlink()
        else:
            print("mtail is not here (apt install mtail): nothing to compare with")
        asyncio.run(first_look(folder / "big.log", folder / "pino.log"))
        asyncio.run(quiet_files(folder))


if __name__ == "__main__":
    if sys.argv[1:2] == ["daemon"]:
        import msgspec

        daemon(sys.argv[2], msgspec.json.decode(sys.argv[3], type=Spec))
    else:
        main()
