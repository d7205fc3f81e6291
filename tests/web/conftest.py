"""The web, served for real on a free port, over a daemon that a test makes up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from pydantic import SecretStr

from monitor.core.config import WebConfig
from monitor.web.server import Served, serve
from tests.web import portal

TOKEN = "the-token-of-this-run"


@dataclass
class Site:
    """A running web, what it shows, and a client that talks to it."""

    source: portal.Source
    served: Served
    client: httpx.AsyncClient

    @property
    def change(self) -> dict[str, str]:
        """The header that lets a change through."""
        return {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    source = portal.Source()
    async with (
        serve(source, WebConfig(port=0), SecretStr(TOKEN)) as served,
        httpx.AsyncClient(base_url=served.url, trust_env=False, verify=False) as client,
    ):
        yield Site(source, served, client)
