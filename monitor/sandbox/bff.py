"""The portal's BFF, simulated: real requests that really use Redis, PostgreSQL and the vendors, logged as pino logs.

A process of its own. Standard input is its lifeline and its control: the first line is `Settings` as JSON, each
further line an `Order`; it ends at end of file. It says `ready` once it could listen, `serving` once it does.
Broken parts have their consequences here: what depends on one is answered and logged with 5xx.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import httpx
import msgspec
import psycopg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from monitor.sandbox import bullmq, pino
from monitor.sandbox.ports import Door
from monitor.sandbox.vendors import API_VERSION

CHANNEL = "/event/OrderProvisionRequested__e"
REPLAY_KEY = f"sf:pe:replay:{CHANNEL}"
POOL_SIZE = 5
PARTS_SECONDS = 1.0  # how long Redis and PostgreSQL may take
UPSTREAM_SECONDS = 8.0
CATALOG_SECONDS = 3
LOGINS_PER_QUARTER = 50  # by one address; more are answered with 429


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is. It has secrets, so it comes over the pipe and not over the command line."""

    port: int
    logs: str
    redis_url: str
    database_url: str
    whmcs_url: str
    whmcs_identifier: str
    whmcs_secret: str
    salesforce_url: str
    freebit_url: str
    freebit_oem_id: str
    freebit_oem_key: str
    requests_per_second: float


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an outage makes of the BFF: whether it listens, and its own troubles."""

    serve: bool = True
    delay_seconds: float = 0.0  # added to every request of a customer
    error_ratio: float = 0.0  # of customers' requests that meet a bug
    failed_logins_per_second: float = 0.0  # from many addresses


class HttpProblem(Exception):
    """An answer that is no success. Status 500 is an exception that nobody handled."""

    def __init__(self, status: int, type_: str, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.err = pino.error(type_, message, code)


class Database:
    """Connections held open as Prisma's pool does: a few, taken in turn, replaced when they are found broken."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[psycopg.AsyncConnection[Any]] = []
        self._places = asyncio.Semaphore(POOL_SIZE)

    async def open(self) -> None:
        """Fill the pool. Raises HttpProblem."""
        self._idle = [await self.connect() for _ in range(POOL_SIZE)]

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        """A new connection. Raises HttpProblem with Prisma's code and words."""
        try:
            return await psycopg.AsyncConnection.connect(self._url, autocommit=True, connect_timeout=2)
        except psycopg.Error as error:
            if "connection slots" in str(error) or "too many clients" in str(error):
                _prisma("P2037", "Too many database connections opened: FATAL: too many clients already")
            _prisma("P1001", "Can't reach database server at `127.0.0.1`")

    async def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query on a pooled connection; one found broken is replaced. Raises HttpProblem."""
        async with self._places:
            try:
                return await self._run(self._idle.pop() if self._idle else await self.connect(), sql)
            except psycopg.OperationalError:
                return await self._run(await self.connect(), sql)

    async def _run(self, connection: psycopg.AsyncConnection[Any], sql: str) -> list[tuple[Any, ...]]:
        try:
            async with asyncio.timeout(PARTS_SECONDS):
                cursor = await connection.execute(sql)
                rows = await cursor.fetchall()
        except BaseException:
            await connection.close()
            raise
        self._idle.append(connection)
        return rows

    async def place_order(self, plan: str) -> None:
        """An interactive transaction on a connection of its own, as long work is kept out of the pool."""
        async with await self.connect() as connection, connection.transaction():
            await connection.execute("INSERT INTO orders (plan) VALUES (%s)", [plan])
            await connection.execute("DELETE FROM orders WHERE id < currval('orders_id_seq') - 500")

    async def close(self) -> None:
        for connection in self._idle:
            await connection.close()


def _prisma(code: str, text: str) -> NoReturn:
    message = f"\nInvalid `prisma.user.findUnique()` invocation:\n\n\n{text}"
    raise HttpProblem(500, "PrismaClientInitializationError", message, code)


@dataclass
class Visit:
    """One request being answered: what its lines in the log have in common."""

    log: pino.Log
    req: dict[str, Any]

    def line(self, level: int, msg: str, **fields: Any) -> None:
        self.log.write(level, msg, req=self.req, **fields)


@dataclass
class Tally:
    """What the in-memory queue of calls to one vendor has counted since the BFF started."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    pending: int = 0
    seconds: float = 0.0

    def shown(self) -> dict[str, Any]:
        average = round(1000 * self.seconds / self.completed) if self.completed else 0
        metrics = {"totalRequests": self.total, "completedRequests": self.completed, "failedRequests": self.failed,
                   "queueSize": 0, "pendingRequests": self.pending, "averageWaitTime": 0,
                   "averageExecutionTime": average}  # fmt: skip
        return {"health": "healthy", "metrics": metrics}


@dataclass
class Vendors:
    """Calls to WHMCS, Salesforce and Freebit, each with its line in the log."""

    settings: Settings
    client: httpx.AsyncClient
    tallies: dict[str, Tally] = field(default_factory=lambda: {"WHMCS": Tally(), "Salesforce": Tally()})
    session: str = ""  # of Salesforce
    key: str = ""  # of Freebit

    async def whmcs(self, visit: Visit, action: str) -> dict[str, Any]:
        """The answer to an action. Raises HttpProblem 503."""

        async def call() -> dict[str, Any]:
            who = {"identifier": self.settings.whmcs_identifier, "secret": self.settings.whmcs_secret}
            answer = await self.client.post(
                self.settings.whmcs_url, data={**who, "action": action, "responsetype": "json"}
            )
            body = _json(answer)
            if body.get("result") != "success":
                raise ValueError(body.get("message") or f"HTTP {answer.status_code}, not JSON")
            return body

        return await self._timed(visit, "WHMCS", "API request", {"action": action}, call)

    async def salesforce(self, visit: Visit, operation: str, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The answer of the REST API, with a session that is renewed when refused. Raises HttpProblem 503."""

        async def call() -> dict[str, Any]:
            url = f"{self.settings.salesforce_url}/services/data/v{API_VERSION}{path}"
            self.session = self.session or await self._log_in()
            answer = await self.client.request(method, url, headers=self._signed(), **request)
            if answer.status_code == 401:
                self.session = await self._log_in()
                answer = await self.client.request(method, url, headers=self._signed(), **request)
            answer.raise_for_status()
            return _json(answer)

        return await self._timed(visit, "Salesforce", operation, {"operation": operation}, call)

    def _signed(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.session}"}

    async def _log_in(self) -> str:
        fields = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "e30.e30.signature"}
        answer = await self.client.post(f"{self.settings.salesforce_url}/services/oauth2/token", data=fields)
        answer.raise_for_status()
        return str(_json(answer)["access_token"])

    async def freebit(self, visit: Visit) -> dict[str, Any]:
        """The details of a line. Raises HttpProblem 503."""

        async def call() -> dict[str, Any]:
            self.key = self.key or await self._authenticate()
            body = await self._freebit("/mvno/getDetail/", {"authKey": self.key})
            if body.get("resultCode") != "100":
                self.key = ""
                raise ValueError(f"resultCode {body.get('resultCode')}")
            return body

        return await self._timed(visit, "Freebit", "API request", {"endpoint": "/mvno/getDetail/"}, call)

    async def _authenticate(self) -> str:
        account = {"oemId": self.settings.freebit_oem_id, "oemKey": self.settings.freebit_oem_key}
        return str((await self._freebit("/emptool/api/authOem/", account)).get("authKey", ""))

    async def _freebit(self, path: str, fields: dict[str, str]) -> dict[str, Any]:
        body = msgspec.json.encode(fields)
        return _json(await self.client.post(f"{self.settings.freebit_url}{path}", files={"json": (None, body)}))

    async def _timed(
        self,
        visit: Visit,
        vendor: str,
        what: str,
        context: dict[str, Any],
        call: Callable[[], Awaitable[dict[str, Any]]],
    ) -> dict[str, Any]:
        tally = self.tallies.setdefault(vendor, Tally())
        tally.total += 1
        tally.pending += 1
        began = time.monotonic()
        try:
            answer = await call()
        except (httpx.HTTPError, ValueError) as error:
            tally.failed += 1
            duration = _milliseconds(began)
            visit.line(
                pino.ERROR, f"{vendor} {what} failed", context={"error": _said(error), **context, "duration": duration}
            )
            message = f"{vendor} API unavailable: {_said(error)}"
            raise HttpProblem(503, "ServiceUnavailableException", message) from error
        finally:
            tally.pending -= 1
            tally.seconds += time.monotonic() - began
        tally.completed += 1
        visit.line(pino.INFO, f"{vendor} {what} completed", context={**context, "duration": _milliseconds(began)})
        return answer


def _json(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json() if answer.content else {}
    if not isinstance(body, dict):
        raise ValueError("an answer that is no object")  # noqa: TRY004 - their fault, not a caller's
    return body


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _redis_said(error: RedisError) -> str:
    """Redis's own words: redis-py takes the first one away, ioredis does not."""
    first: Mapping[type[RedisError], str] = {OutOfMemoryError: "OOM ", ReadOnlyError: "READONLY "}
    return first.get(type(error), "") + _said(error)


def _milliseconds(began: float) -> int:
    return round(1000 * (time.monotonic() - began))


Page = Callable[[Request, Visit], Awaitable[Any]]


class Bff:
    """The routes, and what runs beside them: the event subscription, the worker, the customers."""

    def __init__(self, settings: Settings, log: pino.Log) -> None:
        self.settings = settings
        self.log = log
        self.order = Order(serve=False)
        self.database = Database(settings.database_url)
        self.redis = Redis.from_url(
            settings.redis_url, decode_responses=True, socket_timeout=PARTS_SECONDS,
            socket_connect_timeout=PARTS_SECONDS, retry=Retry(NoBackoff(), 0),
        )  # fmt: skip
        self.client = httpx.AsyncClient(
            timeout=UPSTREAM_SECONDS, trust_env=False, verify=False, limits=httpx.Limits(max_connections=None)
        )
        self.vendors = Vendors(settings, self.client)
        self._visits = 0
        self.door = Door(self._app())

    def _app(self) -> Starlette:
        pages: Mapping[str, tuple[str, Page]] = {
            "/api/auth/login": ("POST", self._login),
            "/api/auth/me": ("GET", self._me),
            "/api/dashboard": ("GET", self._dashboard),
            "/api/catalog": ("GET", self._catalog),
            "/api/billing/invoices": ("GET", self._invoices),
            "/api/sims/usage": ("GET", self._usage),
            "/api/orders": ("GET", self._orders),
            "/api/orders/new": ("POST", self._place_order),
        }
        routes = [Route(path, self._answering(page), methods=[method]) for path, (method, page) in pages.items()]
        fixed = [Route("/", _front), Route("/health", self._health), Route("/health/queues", self._queues)]
        return Starlette(routes=[*fixed, *routes])

    def _answering(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """What Nest and pino-http do around a handler: the answer, and the lines about it."""

        async def answer(request: Request) -> Response:
            began = time.monotonic()
            visit = self._visit(request)
            try:
                body = await self._served(page, request, visit)
            except HttpProblem as problem:
                return self._failed(visit, problem, began)
            visit.line(pino.INFO, "request completed", res={"statusCode": 200}, responseTime=_milliseconds(began))
            return JSONResponse(body)

        return answer

    def _visit(self, request: Request) -> Visit:
        self._visits += 1
        headers = (
            {"x-forwarded-for": request.headers["x-forwarded-for"]} if "x-forwarded-for" in request.headers else {}
        )
        req = {"id": self._visits, "method": request.method, "url": request.url.path,
               **({"headers": headers} if headers else {}),
               "remoteAddress": request.client.host if request.client else ""}  # fmt: skip
        return Visit(self.log, req)

    async def _served(self, page: Page, request: Request, visit: Visit) -> Any:
        if self.order.delay_seconds:
            await asyncio.sleep(self.order.delay_seconds * random.uniform(0.9, 1.1))
        if random.random() < self.order.error_ratio:
            raise HttpProblem(500, "TypeError", "Cannot read properties of undefined (reading 'plan')")
        try:
            return await page(request, visit)
        except RedisError as error:
            raise HttpProblem(500, "ReplyError", _redis_said(error)) from error
        except TimeoutError as error:
            raise HttpProblem(500, "PrismaClientKnownRequestError", "Timed out", "P2024") from error
        except psycopg.Error as error:
            raise HttpProblem(500, "PrismaClientKnownRequestError", _said(error), "P1017") from error

    def _failed(self, visit: Visit, problem: HttpProblem, began: float) -> Response:
        done = {"res": {"statusCode": problem.status}}
        if problem.status == 500:  # unhandled: Nest says so in a line of its own
            visit.line(pino.ERROR, problem.err["message"], context="ExceptionsHandler", err=problem.err)
        if problem.status >= 500:
            visit.line(pino.INFO, "request errored", **done, err=problem.err, responseTime=_milliseconds(began))
        else:
            visit.line(pino.INFO, "request completed", **done, responseTime=_milliseconds(began))
        message = "Internal server error" if problem.status == 500 else str(problem)
        return JSONResponse({"statusCode": problem.status, "message": message}, problem.status)

    # ── What customers ask for ────────────────────────────────────────────────────────────────────────────────

    async def _login(self, request: Request, visit: Visit) -> Any:
        """Counts attempts and keeps the session in Redis: without it nobody signs in."""
        address = request.headers.get("x-forwarded-for", "127.0.0.1")
        attempts = await self.redis.incr(f"rl:login:{address}")
        await self.redis.expire(f"rl:login:{address}", 900)
        if attempts > LOGINS_PER_QUARTER:
            visit.line(pino.WARN, "Too many login attempts", context="AuthService")
            raise HttpProblem(429, "ThrottlerException", "Too many login attempts. Try again later.")
        await self.database.query("SELECT 1")
        if (await request.body()) != b"right":
            visit.line(pino.WARN, "Login failed: invalid credentials", context="AuthService")
            raise HttpProblem(401, "UnauthorizedException", "Invalid credentials")
        await self.redis.set(f"session:{random.getrandbits(64):016x}", "{}", ex=60)
        return {"ok": True}

    async def _signed_in(self, visit: Visit) -> None:
        """Is the token revoked? Fails open, as AUTH_BLACKLIST_FAIL_CLOSED=false has it; then who is it?"""
        try:
            await self.redis.exists("blacklist:token")
        except RedisError as error:
            said = {"error": _said(error)}
            visit.line(pino.WARN, "Token blacklist check failed, letting the request through", context=said)
        await self.database.query("SELECT 1")

    async def _me(self, _request: Request, visit: Visit) -> Any:
        await self._signed_in(visit)
        return {"id": 1}

    async def _dashboard(self, _request: Request, visit: Visit) -> Any:
        await self._signed_in(visit)
        return {"orders": (await self.database.query("SELECT count(*) FROM orders"))[0][0]}

    async def _catalog(self, _request: Request, visit: Visit) -> Any:
        """From the cache, and from Salesforce when it is not there or there is no cache."""
        await self._signed_in(visit)
        with contextlib.suppress(RedisError):
            if await self.redis.get("cache:catalog"):
                return {"plans": 3}
        found = await self.vendors.salesforce(visit, "query", "GET", "/query", params={"q": "SELECT Id FROM Product2"})
        with contextlib.suppress(RedisError):
            await self.redis.set("cache:catalog", "[]", ex=CATALOG_SECONDS)
        return {"plans": found["totalSize"]}

    async def _invoices(self, _request: Request, visit: Visit) -> Any:
        await self._signed_in(visit)
        return {"invoices": (await self.vendors.whmcs(visit, "GetInvoices"))["totalresults"]}

    async def _usage(self, _request: Request, visit: Visit) -> Any:
        await self._signed_in(visit)
        return {"status": (await self.vendors.freebit(visit))["resultCode"]}

    async def _orders(self, _request: Request, visit: Visit) -> Any:
        await self._signed_in(visit)
        found = await self.vendors.salesforce(visit, "query", "GET", "/query", params={"q": "SELECT Id FROM Order"})
        return {"orders": found["totalSize"]}

    async def _place_order(self, _request: Request, visit: Visit) -> Any:
        await self._signed_in(visit)
        await self.database.place_order("sim-20gb")
        made = await self.vendors.salesforce(visit, "create", "POST", "/sobjects/Order", json={"Status": "Draft"})
        return {"id": made["id"]}

    # ── Health ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _health(self, _request: Request) -> Response:
        """Both parts are really used: a query, and a value written and read back."""
        database, cache = await asyncio.gather(_works(self._database_works()), _works(self._cache_works()))
        checks = {"database": "ok" if database else "fail", "cache": "ok" if cache else "fail"}
        fine = database and cache
        body = {"status": "ok" if fine else "error", "timestamp": _iso_now(), "checks": checks}
        return JSONResponse(body, 200 if fine else 503)

    async def _database_works(self) -> None:
        await self.database.query("SELECT 1")

    async def _cache_works(self) -> None:
        await self.redis.set("health:check", "1", ex=60)
        await self.redis.get("health:check")

    async def _queues(self, _request: Request) -> Response:
        shown = {vendor.lower(): tally.shown() for vendor, tally in self.vendors.tallies.items() if vendor != "Freebit"}
        usage = {
            "dailyUsage": {"used": self.vendors.tallies["Salesforce"].total, "limit": 1_000_000}
        }  # days pass in minutes
        return JSONResponse({"timestamp": _iso_now(), **shown, "salesforce": {**shown["salesforce"], **usage}})

    # ── Beside the requests ───────────────────────────────────────────────────────────────────────────────────

    async def subscribe(self) -> None:
        """Turn platform events into jobs, from where the replay key says, for ever."""
        while True:
            try:
                await self._next_events()
            except (httpx.HTTPError, RedisError, ValueError) as error:
                err = pino.error(type(error).__name__, _said(error))
                self.log.write(pino.ERROR, "Platform Event subscription failed", err=err)
                await asyncio.sleep(0.5)

    async def _next_events(self) -> None:
        after = await self.redis.get(REPLAY_KEY) or "-1"
        timeout = httpx.Timeout(UPSTREAM_SECONDS, read=30)
        url = f"{self.settings.salesforce_url}/sandbox/events"
        answer = await self.client.get(url, params={"after": after}, timeout=timeout)
        answer.raise_for_status()
        for event in answer.json():
            await bullmq.add(self.redis, {"orderId": event["order"]})
            await self.redis.set(REPLAY_KEY, event["replayId"])
            context = {"channel": CHANNEL, "orderId": event["order"]}
            self.log.write(pino.INFO, "Platform Event enqueued for provisioning", context=context)

    async def work(self) -> None:
        """Provision what waits in the queue, for ever."""
        while True:
            try:
                await bullmq.look_after(self.redis)
                while taken := await bullmq.take(self.redis):
                    await self._provision(*taken)
            except RedisError as error:
                self.log.write(pino.ERROR, "Worker connection failed", context={"error": _said(error)})
            await asyncio.sleep(0.5)

    async def _provision(self, job: str, data: dict[str, Any]) -> None:
        visit = Visit(self.log, {"id": f"job-{job}"})
        try:
            await self.vendors.whmcs(visit, "AddOrder")
            await self.vendors.whmcs(visit, "AcceptOrder")
            path = f"/sobjects/Order/{data['orderId']}"
            await self.vendors.salesforce(visit, "update", "PATCH", path, json={"Activation_Status__c": "Activated"})
        except HttpProblem as problem:
            await bullmq.fail(self.redis, job, str(problem))
            self.log.write(pino.ERROR, "Order provisioning failed", context={"jobId": job, "error": str(problem)})
            return
        await bullmq.complete(self.redis, job)
        self.log.write(pino.INFO, "Order provisioned", context={"jobId": job, "orderId": data["orderId"]})

    async def customers(self) -> None:
        """Requests as customers make them, at random moments, for ever; each over the network."""
        asking: set[asyncio.Task[None]] = set()
        while True:
            await asyncio.sleep(random.expovariate(self.settings.requests_per_second))
            method, path, _ = random.choices(TRAFFIC, weights=[weight for *_, weight in TRAFFIC])[0]
            _begin(asking, self._ask(method, path, b"right", f"198.51.100.{random.randrange(256)}"))

    async def intruders(self) -> None:
        """Failing logins from many addresses, as many as the outage asks for, for ever."""
        asking: set[asyncio.Task[None]] = set()
        while True:
            rate = self.order.failed_logins_per_second
            await asyncio.sleep(random.expovariate(rate) if rate else 0.1)
            if rate:
                _begin(asking, self._ask("POST", "/api/auth/login", b"wrong", f"203.0.113.{random.randrange(256)}"))

    async def _ask(self, method: str, path: str, body: bytes, address: str) -> None:
        url = f"http://127.0.0.1:{self.settings.port}{path}"
        with contextlib.suppress(httpx.HTTPError):
            content = body if method == "POST" else None
            await self.client.request(method, url, headers={"X-Forwarded-For": address}, content=content)

    async def obey(self, order: Order) -> None:
        """Become what the outage says."""
        if order.serve:
            await self.door.open(self.settings.port)
        else:
            self.door.shut_all()
        self.order = order


TRAFFIC = (  # of a hundred requests
    ("GET", "/api/auth/me", 10),
    ("GET", "/api/dashboard", 25),
    ("GET", "/api/catalog", 15),
    ("GET", "/api/billing/invoices", 18),
    ("GET", "/api/sims/usage", 10),
    ("GET", "/api/orders", 8),
    ("POST", "/api/orders/new", 5),
    ("POST", "/api/auth/login", 9),
)


def _begin(tasks: set[asyncio.Task[None]], asked: Any) -> None:
    task = asyncio.create_task(asked)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def _works(check: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(PARTS_SECONDS):
            await check
    except (RedisError, psycopg.Error, HttpProblem, TimeoutError):
        return False
    return True


async def _front(_request: Request) -> Response:
    return HTMLResponse("<!doctype html><title>Customer Portal</title><h1>Customer Portal</h1><p>Sandbox.")


def _iso_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _lines() -> AsyncIterator[bytes]:
    """Standard input, line by line."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield line


def _say(word: str) -> None:
    print(word, flush=True)  # noqa: T201 - the supervisor reads it


async def main() -> None:
    """Be the BFF until standard input ends."""
    lines = _lines()
    settings = msgspec.json.decode(await anext(lines), type=Settings)
    log = pino.Log(Path(settings.logs))
    bff = Bff(settings, log)
    with contextlib.suppress(HttpProblem):  # it comes up without its database too, and fails until that is there
        await bff.database.open()
    _say("ready")
    tasks: list[asyncio.Task[None]] = []
    async for line in lines:
        order = msgspec.json.decode(line, type=Order)
        await bff.obey(order)
        if order.serve and not tasks:
            log.write(pino.INFO, "Nest application successfully started", context="NestApplication")
            beside = (bff.subscribe(), bff.work(), bff.customers(), bff.intruders())
            tasks = [asyncio.create_task(loop) for loop in beside]
        _say("done")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await bff.door.close()
    await bff.database.close()
    await bff.redis.aclose()
    await bff.client.aclose()
    log.close()


if __name__ == "__main__":
    asyncio.run(main())
