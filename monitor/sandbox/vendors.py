"""WHMCS, Salesforce and Freebit as their documentation describes them: small, with their troubles to switch on.

Each is an ASGI application and the little state that its outages change. Latencies are made up, bodies are not.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import HTTP
from typing import Any, Literal
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

API_VERSION = "62.0"
EVENT_SECONDS = 1.0  # between two orders that Salesforce approves
LONG_POLL_SECONDS = 10.0
PATIENCE_SECONDS = 300.0  # after which somebody activates an order by hand
Trouble = Literal["maintenance", "credentials", "ip"]

_MAINTENANCE = """<!DOCTYPE html><html><head><title>Down for Maintenance</title></head><body>
<h1>Down for Maintenance</h1><p>We are currently performing maintenance and will be back shortly.</p></body></html>"""


async def form(request: Request) -> dict[str, str]:
    """The fields of a form, URL-encoded or multipart."""
    body = await request.body()
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/"):
        return {name: values[-1] for name, values in parse_qs(body.decode(errors="replace")).items()}
    message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body, policy=HTTP)
    parts = {str(part.get_param("name", header="content-disposition")): part for part in message.iter_parts()}
    return {name: str(part.get_content()).strip() for name, part in parts.items()}


class Whmcs:
    """`POST /includes/api.php`. An error comes with HTTP 403 for who asks, with 200 for what is asked."""

    def __init__(self, identifier: str, secret: str) -> None:
        self.identifier = identifier
        self.secret = secret
        self.trouble: Trouble | None = None
        self.strangers_port = 0  # whoever comes through it has another address than the BFF
        self.app = Starlette(routes=[Route("/includes/api.php", self._api, methods=["GET", "POST"])])

    async def _api(self, request: Request) -> Response:
        await asyncio.sleep(random.uniform(0.02, 0.08))
        fields = await form(request)
        if self.trouble == "maintenance":
            return HTMLResponse(_MAINTENANCE, 503)
        refusal = self._refusal(fields, request.scope["server"][1])
        if refusal:
            return JSONResponse({"result": "error", "message": refusal}, 403)
        return JSONResponse(self._answer(fields.get("action", "")))

    def _refusal(self, fields: dict[str, str], port: int) -> str:
        if self.trouble == "ip" and port == self.strangers_port:
            return "Invalid IP 203.0.113.9"
        if "identifier" not in fields or "secret" not in fields:
            return "Authentication Failed"
        if fields["identifier"] != self.identifier:
            return "Invalid or missing credentials"
        wrong = fields["secret"] != self.secret or self.trouble == "credentials"
        return "Authentication Failed" if wrong else ""

    def _answer(self, action: str) -> dict[str, Any]:
        version = {"version": "8.11.2", "canonicalversion": "8.11.2-release.1"}
        known: dict[str, dict[str, Any]] = {
            "whmcsdetails": {"whmcs": version},
            "gethealthstatus": {},
            "getcurrencies": {"totalresults": 1, "currencies": {"currency": [{"id": 1, "code": "JPY"}]}},
            "getpaymentmethods": {"totalresults": 1, "paymentmethods": {"paymentmethod": [{"module": "stripe"}]}},
            "getstats": {"orders_pending": 0},
            "getinvoices": {"totalresults": 0, "startnumber": 0, "numreturned": 0, "invoices": {"invoice": []}},
            "getclients": {"totalresults": 0, "startnumber": 0, "numreturned": 0, "clients": {"client": []}},
            "addorder": {"orderid": random.randrange(10**6), "invoiceid": random.randrange(10**6)},
            "acceptorder": {},
        }
        if action.lower() not in known:
            return {"result": "error", "message": f'Invalid API Action: "{action}" is not a valid API action'}
        return {"result": "success", **known[action.lower()]}


@dataclass
class _Order:
    status: str = "Activating"
    modified: float = field(default_factory=time.time)


class Salesforce:
    """The REST API, the token endpoint and, in place of the Pub/Sub API, a long poll for platform events.

    Once a second an order is approved: it waits in `Activating` and an event says so, until the BFF activates it.
    """

    def __init__(self) -> None:
        self.events_flow = True  # false: the subscription lives and nothing comes through it
        self._orders: dict[str, _Order] = {}
        self._events: list[tuple[int, str]] = []  # replay id, order
        self._replay_id = 12_907_414  # an opaque position; not contiguous
        self._tokens: set[str] = set()
        self._came = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._delivered = 0
        data = f"/services/data/v{API_VERSION}"
        self.app = Starlette(
            routes=[
                Route("/services/data/", self._versions),
                Route("/services/oauth2/token", self._token, methods=["POST"]),
                Route(f"{data}/limits", self._limits),
                Route(f"{data}/query", self._query),
                Route(f"{data}/sobjects/Order", self._create, methods=["POST"]),
                Route(f"{data}/sobjects/Order/{{order}}", self._update, methods=["PATCH"]),
                Route("/sandbox/events", self._poll),
            ]
        )

    @staticmethod
    def private_key() -> str:
        """A new key, in PEM, for the monitor to sign its logins with."""
        key = rsa.generate_private_key(65537, 2048)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def waiting(self, before: float = float("inf")) -> int:
        """How many orders are `Activating`, last changed before this wall time."""
        return sum(order.modified < before for order in self._orders.values() if order.status == "Activating")

    async def approve(self) -> None:
        """Approve an order every second, for ever, once somebody listens: an event from before is lost on him."""
        await self._subscribed.wait()
        while True:
            self._replay_id += random.randint(1, 9)
            order = f"801{random.randrange(10**12):012d}"
            self._orders = {
                key: one for key, one in self._orders.items() if time.time() - one.modified < PATIENCE_SECONDS
            }
            self._orders[order] = _Order()
            self._events = [*self._events[-999:], (self._replay_id, order)]
            self._came.set()
            await asyncio.sleep(EVENT_SECONDS)

    async def _versions(self, _request: Request) -> Response:
        label, path = "Winter '25", f"/services/data/v{API_VERSION}"
        return JSONResponse([{"label": label, "url": path, "version": API_VERSION}])

    async def _token(self, request: Request) -> Response:
        fields = await form(request)
        if fields.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return JSONResponse(
                {"error": "unsupported_grant_type", "error_description": "grant type not supported"}, 400
            )
        if fields.get("assertion", "").count(".") != 2:
            return JSONResponse({"error": "invalid_grant", "error_description": "invalid assertion"}, 400)
        token = f"00D000000000001!{random.getrandbits(128):032x}"
        self._tokens.add(token)
        home = str(request.base_url).rstrip("/")
        body = {"access_token": token, "scope": "api", "instance_url": home, "id": f"{home}/id/00D/005"}
        return JSONResponse({**body, "token_type": "Bearer"})

    def _refused(self, request: Request) -> Response | None:
        if request.headers.get("authorization", "").removeprefix("Bearer ") in self._tokens:
            return None
        return JSONResponse([{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}], 401)

    async def _limits(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        events = {"Max": 50_000, "Remaining": max(0, 50_000 - self._delivered)}
        calls = {"Max": 15_000, "Remaining": 10_000}
        return JSONResponse({"DailyApiRequests": calls, "DailyDeliveredPlatformEvents": events})

    async def _query(self, request: Request) -> Response:
        await asyncio.sleep(random.uniform(0.03, 0.12))
        if refused := self._refused(request):
            return refused
        soql = request.query_params.get("q", "")
        if not soql.upper().startswith("SELECT "):
            return JSONResponse([{"message": "unexpected token", "errorCode": "MALFORMED_QUERY"}], 400)
        records = [self._aggregate(_before(soql))] if " oldest " in soql else []
        size = self.waiting(_before(soql)) if "Activating" in soql else 3
        return JSONResponse({"totalSize": len(records) or size, "done": True, "records": records})

    def _aggregate(self, before: float) -> dict[str, Any]:
        """The record of `SELECT COUNT(Id) waiting, MIN(LastModifiedDate) oldest …`."""
        modified = [order.modified for order in self._orders.values() if order.modified < before]
        oldest = datetime.fromtimestamp(min(modified), UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000") if modified else None
        return {"attributes": {"type": "AggregateResult"}, "waiting": len(modified), "oldest": oldest}

    async def _create(self, request: Request) -> Response:
        """A new order of the portal is a draft, which somebody will look at: no event yet."""
        await asyncio.sleep(random.uniform(0.03, 0.12))
        body = {"id": f"801{random.randrange(10**12):012d}", "success": True, "errors": []}
        return self._refused(request) or JSONResponse(body, 201)

    async def _update(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        self._orders.pop(request.path_params["order"], None)  # activated: nothing asks for it again
        return Response(status_code=204)

    async def _poll(self, request: Request) -> Response:
        """The events after the replay id `after` (-1: only new ones), or none after a while: the keep-alive."""
        after = int(request.query_params.get("after", "-1"))
        after = self._replay_id if after == -1 else after
        self._subscribed.set()
        deadline = time.monotonic() + LONG_POLL_SECONDS
        while time.monotonic() < deadline:
            found = [event for event in self._events if event[0] > after] if self.events_flow else []
            if found:
                self._delivered += len(found)
                return JSONResponse([{"replayId": replay_id, "order": order} for replay_id, order in found])
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), deadline - time.monotonic())
            except TimeoutError:
                break
        return JSONResponse([])


def _before(soql: str) -> float:
    """The wall time in `… < 2026-11-23T17:00:00Z`, if the query has one."""
    found = re.search(r"<\s*(\d{4}-\d\d-\d\dT[\d:.]+)(?:Z|\+00:00|\+0000)", soql)
    return datetime.fromisoformat(f"{found[1]}+00:00").timestamp() if found else float("inf")


class Freebit:
    """`/emptool/api/authOem/` and what an authenticated caller asks; HTTP 200 whatever the result."""

    def __init__(self, oem_id: str, oem_key: str) -> None:
        self.oem_id = oem_id
        self.oem_key = oem_key
        self._keys: set[str] = set()
        self.app = Starlette(
            routes=[
                Route("/emptool/api/authOem/", self._authenticate, methods=["POST"]),
                Route("/mvno/getDetail/", self._detail, methods=["POST"]),
            ]
        )

    async def _authenticate(self, request: Request) -> Response:
        if await _json_field(request) != {"oemId": self.oem_id, "oemKey": self.oem_key}:
            return JSONResponse({"resultCode": "210", "status": {"message": "NG", "statusCode": "210"}})
        key = f"{random.getrandbits(128):032x}"
        self._keys.add(key)
        return JSONResponse({"resultCode": "100", "authKey": key})

    async def _detail(self, request: Request) -> Response:
        await asyncio.sleep(random.uniform(0.05, 0.15))
        known = (await _json_field(request)).get("authKey") in self._keys
        code = "100" if known else "201"
        return JSONResponse({"resultCode": code, "status": {"message": "OK" if known else "NG", "statusCode": code}})


async def _json_field(request: Request) -> dict[str, Any]:
    try:
        value = json.loads((await form(request)).get("json", ""))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
