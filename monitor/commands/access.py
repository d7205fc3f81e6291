"""How commands reach incidents: through the running daemon, or through its store while none runs.

Both ways answer the same, because both are the API: the daemon's over HTTP, or its endpoints in this process, on the
store. A change takes the store's lock then, so that there is one writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from monitor.core import history
from monitor.core.loading import Loaded
from monitor.core.words import clean, utc

if TYPE_CHECKING:
    from monitor.commands.stored import Stored

PATIENCE_SECONDS = 10.0


class Denied(Exception):
    """It was refused, or there is nobody to ask; the text is one line for whoever asked."""


class Access:
    """One command's way to the incidents. `note` says, after the first answer, if it came from the store."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._url: str | None = None
        self._stored: Stored | None = None
        self.note = ""

    def answered(self) -> bool:
        """Whether our daemon runs."""
        return self._daemon() is not None

    def get(self, route: str, **query: str) -> Any:
        """The JSON of an answer. Denied with the reason."""
        return self._asked("GET", route, query=query).json()

    def text(self, route: str, **query: str) -> str:
        """An answer that is a text. Likewise."""
        return self._asked("GET", route, query=query).text

    def change(self, method: str, route: str, fields: Mapping[str, Any]) -> Any:
        """Ask for a change; the JSON of the answer. Likewise."""
        return self._asked(method, route, fields=fields).json()

    def status(self) -> Any:
        """Everything at one moment."""
        if self._daemon() is not None:
            return self.get("/api/v1/status")
        from monitor.web.api import status_json

        return status_json(self._store().snapshot())

    def history(self, name: str, range_: str) -> Any:
        """A probe's history over `range_` (7d), with its limits. Denied with the reason."""
        if self._daemon() is not None:
            return self.get(f"/api/v1/probes/{name}/history", range=range_)
        from monitor.store import StoreError, buckets
        from monitor.web.chronicle import history_json
        from monitor.web.past import range_seconds

        store = self._store()
        until, span = store.now(), range_seconds(range_) or 0.0
        try:
            kept = buckets(store.path, name, history.resolution(span), until - span)
        except StoreError as error:
            raise Denied(f"no daemon answers, and {error}") from error
        return history_json(self._loaded.config.probes[name], kept, until - span, until)

    def _asked(
        self,
        method: str,
        route: str,
        *,
        query: Mapping[str, str] | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> httpx.Response:
        url = self._daemon()
        if url is not None:
            answer = self._ask_daemon(method, f"{url}{route}", query, fields)
        else:
            answer = asyncio.run(self._ask_store(method, route, query, fields))
        if answer.status_code >= 400:
            raise Denied(self._why(answer))
        return answer

    def _why(self, answer: httpx.Response) -> str:
        try:
            said = str(answer.json()["error"])
        except (ValueError, KeyError, TypeError):
            said = f"the daemon answered {answer.status_code}"
        if answer.status_code == 401:
            if self._token():
                return f"the token in {self._token_file()} is not that of the daemon at {self._url}"
            if self._no_token():
                return f"there is no token at {self._token_file()}: does the daemon at {self._url} have its store elsewhere?"
            return f"the token in {self._token_file()} cannot be read: be the daemon's user, or root"
        return clean(said)

    # --- the daemon ---------------------------------------------------------------------------------------------------

    def _daemon(self) -> str | None:
        """The address at which our daemon answers; None if none does."""
        if self._url is None:
            web = self._loaded.config.web
            host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(web.host, web.host)
            place = f"{f'[{host}]' if ':' in host else host}:{web.port}"
            self._url = next((url for url in (f"http://{place}", f"https://{place}") if _is_ours(url)), "")
        return self._url or None

    def _ask_daemon(
        self, method: str, url: str, query: Mapping[str, str] | None, fields: Mapping[str, Any] | None
    ) -> httpx.Response:
        try:
            return httpx.request(
                method, url, params=query, json=fields, headers=self._token(), timeout=PATIENCE_SECONDS,
                trust_env=False, verify=False,  # noqa: S501 (see _is_ours)
            )  # fmt: skip
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise Denied(f"the daemon does not answer: {said}; whether it was done is not known") from error

    def _token(self) -> dict[str, str]:
        try:
            token = self._token_file().read_text().strip()
        except (OSError, UnicodeDecodeError):
            return {}
        return {"Authorization": f"Bearer {token}"} if token.isascii() and token.isprintable() and token else {}

    def _no_token(self) -> bool:
        """Whether nothing is there, rather than nothing that may be read."""
        try:
            self._token_file().stat()
        except OSError as error:
            return isinstance(error, FileNotFoundError)
        return False

    def _token_file(self) -> Path:
        return Path(self._loaded.config.store).parent / "token"

    # --- the store ----------------------------------------------------------------------------------------------------

    def _store(self) -> Stored:
        if self._loaded.outline:
            raise Denied("no daemon answers any more, and without it the whole configuration is needed")
        if self._stored is None:
            from monitor.commands.stored import Stored
            from monitor.store import StoreError

            try:
                self._stored = Stored(self._loaded)
            except StoreError as error:
                raise Denied(f"no daemon answers, and {error}") from error
            written = self._stored.written_at
            when = f", last written {utc(written)}" if written is not None else ""
            self.note = f"No daemon answers; this is from its store{when}."
        return self._stored

    async def _ask_store(
        self, method: str, route: str, query: Mapping[str, str] | None, fields: Mapping[str, Any] | None
    ) -> httpx.Response:
        from starlette.applications import Starlette
        from starlette.routing import Route

        from monitor.web.desk import Desk

        desk = Desk(self._store())
        routes = [Route(path, endpoint, methods=["GET"]) for path, endpoint in desk.reads.items()]
        routes += [Route(path, endpoint, methods=[how]) for (how, path), endpoint in desk.changes.items()]
        transport = httpx.ASGITransport(Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://store", trust_env=False) as client:
            answer = await client.request(method, route, params=query, json=fields)
        if fields is not None and answer.status_code < 400:
            self.note = "No daemon answers; it is saved in its store. Nobody is told before a daemon runs again."
        return answer


def _is_ours(url: str) -> bool:
    """Whether a portal-monitor answers there, asked without the token: it is nobody else's business.

    The certificate is not looked at: it is for other names than the one we are on the same machine under.
    """
    try:
        answer = httpx.get(f"{url}/-/healthy", timeout=PATIENCE_SECONDS, trust_env=False, verify=False)  # noqa: S501
    except httpx.HTTPError:
        return False
    asks = 'realm="portal-monitor"' in answer.headers.get("www-authenticate", "")
    return asks or (answer.status_code == 200 and answer.text == "healthy\n")
