"""Schemathesis asks the API for all that its document allows, and for what it does not, and finds no fault."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.web.conftest import TOKEN, Site

EXAMPLES = 12


async def test_schemathesis_finds_no_fault(site: Site, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "run", f"{site.served.url}/api/v1/openapi.json", "--checks", "all", "--mode", "all",
        "--max-examples", str(EXAMPLES), "--seed", "7", "--workers", "2", "--no-color",
        "--header", f"Authorization: Bearer {TOKEN}", "--generation-database", "none",
    ]  # fmt: skip
    running = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "NO_PROXY": "*", "no_proxy": "*"},
    )  # fmt: skip
    said, _ = await running.communicate()
    assert running.returncode == 0, said.decode()[-6000:]
