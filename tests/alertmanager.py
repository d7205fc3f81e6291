"""A real Alertmanager for the tests, and the webhook behind it that records what people would have got.

webhook = Webhook()
alertmanager = Alertmanager(folder, webhook.url)
alertmanager.start()
...
page = webhook.wait_for(lambda sent: sent.status == "firing" and sent.labels["incident"] == "redis-20261123-1702")
"""

from __future__ import annotations

import json
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from tests.servers import Process, free_port, tool, wait_until


@dataclass(frozen=True, slots=True)
class Notification:
    """One POST of Alertmanager to the webhook: a group of alerts for a receiver."""

    at: float  # wall time of its arrival
    receiver: str
    status: str  # firing, or resolved if all of its alerts are
    labels: Mapping[str, str]  # those that all of its alerts share
    alerts: Sequence[Mapping[str, Any]]  # each with status, labels, annotations, startsAt, endsAt

    def of(self, status: str, **labels: str) -> list[Mapping[str, Any]]:
        """Its alerts with this status and these labels."""
        return [one for one in self.alerts if one["status"] == status and labels.items() <= one["labels"].items()]


class Webhook:
    """A receiver that takes everything and forgets nothing. It listens from the start; `close` ends it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._notifications: list[Notification] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    @property
    def notifications(self) -> list[Notification]:
        """All that came so far, oldest first."""
        with self._changed:
            return list(self._notifications)

    def of(self, status: str, **labels: str) -> list[Notification]:
        """The notifications that hold an alert with this status and these labels."""
        return [one for one in self.notifications if one.of(status, **labels)]

    def by_receiver(self) -> dict[str, list[Notification]]:
        """What each receiver of the routing was given."""
        notifications = self.notifications
        return {
            name: [one for one in notifications if one.receiver == name]
            for name in {one.receiver for one in notifications}
        }

    def wait_for(self, wanted: Callable[[Notification], object], seconds: float = 10.0) -> Notification:
        """The first notification, past or to come, of which `wanted` is true. Blocks: `asyncio.to_thread` in a loop."""

        def found() -> Notification | None:
            return next((one for one in self._notifications if wanted(one)), None)

        with self._changed:
            if not self._changed.wait_for(lambda: found() is not None, seconds):
                raise TimeoutError(f"not among {[(one.status, dict(one.labels)) for one in self._notifications]}")
            notification = found()
        assert notification
        return notification

    def wait_for_alert(self, status: str, **labels: str) -> Notification:
        """The first notification with an alert of this status and these labels, within ten seconds. Blocks."""
        return self.wait_for(lambda one: one.of(status, **labels))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _record(self, message: Mapping[str, Any]) -> None:
        notification = Notification(
            time.time(), message["receiver"], message["status"], message["commonLabels"], message["alerts"]
        )
        with self._changed:
            self._notifications.append(notification)
            self._changed.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                webhook._record(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Nothing: it is recorded."""

        return Handler


def program() -> str | None:
    """The path of Alertmanager: Debian's name, or its makers'."""
    return tool("prometheus-alertmanager") or tool("alertmanager")


def routing(
    webhook: str, *, group_by: Sequence[str] = ("incident", "kind", "update", "reason"), group_interval: str = "200ms"
) -> str:
    """A configuration that hands everything to one webhook, at once and with its end (JSON is YAML)."""
    route = {
        "receiver": "people",
        "group_by": list(group_by),
        "group_wait": "0s",
        "group_interval": group_interval,
        "repeat_interval": "4h",
    }
    people = {"name": "people", "webhook_configs": [{"url": webhook, "send_resolved": True}]}
    return json.dumps({"route": route, "receivers": [people]})


class Alertmanager:
    """A real Alertmanager on a free port, alone (no cluster), everything it writes below `folder`.

    `config` replaces the routing to the one webhook. `web_config` is the text of `--web.config.file`. It keeps its
    port over a restart, and, as always, no alerts: only silences and what was notified, in `folder`.
    """

    def __init__(
        self,
        folder: Path,
        webhook: str = "",
        *,
        config: str | None = None,
        web_config: str = "",
        flags: Sequence[str] = (),
    ) -> None:
        found = program()
        if found is None:
            raise FileNotFoundError("there is no Alertmanager: run tools/fetch")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "alertmanager.log"
        (folder / "alertmanager.yml").write_text(config or routing(webhook))
        (folder / "web.yml").write_text(web_config)
        command = [
            found,
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--web.config.file={folder / 'web.yml'}" if web_config else "--log.level=info",
            "--cluster.listen-address=",
            *flags,
        ]
        self._process = Process(command, self.port, log=self.log)

    def start(self) -> None:
        """Start it; return once it accepts connections."""
        self._process.start()

    def stop(self) -> None:
        """End it as an operator does: it writes down what it notified."""
        self._process.kill(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does: it forgets what it notified lately."""
        self._process.kill()

    def settle(self) -> None:
        """Return once it has written down what it notified of its one group; until then it may notify it again.

        It looks that up at each flush of the group, so the next look comes after the last note.
        """
        looks = self._looks()
        wait_until(lambda: self._looks() > looks, what="the next flush of Alertmanager")

    def _looks(self) -> float:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("alertmanager_nflog_queries_total "))

    def alerts(self, matcher: str = "") -> list[dict[str, Any]]:
        """The alerts that it takes as firing."""
        query = f"?filter={quote(matcher)}" if matcher else ""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts{query}", timeout=5) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def silence(self, *, by: str, comment: str = "acknowledged", **labels: str) -> str:
        """Silence what has these labels for an hour; the id of the silence."""
        now = datetime.now(UTC)
        silence = {
            "matchers": [{"name": name, "value": value, "isRegex": False} for name, value in labels.items()],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(hours=1)).isoformat(),
            "createdBy": by,
            "comment": comment,
        }
        request = urllib.request.Request(
            f"{self.url}/api/v2/silences", json.dumps(silence).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return str(json.load(answer)["silenceID"])
