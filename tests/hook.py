"""An HTTP server that keeps every request and answers what it was told to: what a webhook or a heartbeat goes to."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tests.servers import wait_until


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Hook:
    """Listens from the start. `statuses` are the answers to come, then always 200; `silent`: it never answers."""

    def __init__(self, *statuses: int, silent: bool = False) -> None:
        self.asked: list[Asked] = []
        self._statuses, self._silent = list(statuses), silent
        self._over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/CANARY-path"

    def wait_for(self, count: int, seconds: float = 20.0) -> list[Asked]:
        """All requests, once there are so many."""
        wait_until(lambda: len(self.asked) >= count, seconds=seconds, what=f"request {count}")
        return list(self.asked)

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                hook.asked.append(Asked(self.command, self.path, dict(self.headers), body))
                if hook._silent:
                    hook._over.wait()
                    return
                self.send_response(hook._statuses.pop(0) if hook._statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST = _answer  # noqa: N815 (the library's names)

            def log_message(self, *args: object) -> None:
                """Nothing: it is kept."""

        return Handler
