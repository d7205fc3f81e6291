"""The pages that reached the sandbox's webhook, each kept once for each time its status changed."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor.core.escalation import call_of


@dataclass(frozen=True, slots=True)
class Page:
    """One alert as Alertmanager notified it: `firing` or `resolved`."""

    at: float  # wall seconds, when it arrived
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]

    def shown(self) -> str:
        """One line for a terminal."""
        moment = time.strftime("%H:%M:%S", time.localtime(self.at))
        get = self.labels.get
        kind, attempt = get("kind", "alert"), get("attempt", "")
        call = call_of(int(attempt)) if attempt.isdecimal() else ""
        who = " ".join(name for name in (get("severity", ""), get("escalation_level", "")) if name not in {"", "none"})
        vendor = get("vendor", "none")
        title = self.annotations.get("title") or self.annotations.get("summary") or get("alertname", "an alert")
        title = title.removeprefix(f"[{get('severity')}] ")
        incident = get("incident", "none")
        tail = [f"for {vendor}" if vendor != "none" else "", incident if incident != "none" else ""]
        return " ".join(
            part for part in (f"{moment}  {self.status:<8}  {kind:<8}  {who + call:<5}  {title}", *tail) if part
        )


@dataclass
class Pages:
    """Everything that arrived, in order; also appended to a file."""

    path: Path
    kept: list[Page] = field(default_factory=list)
    _last: dict[str, tuple[str, str]] = field(default_factory=dict)

    def receive(self, notification: dict[str, Any]) -> list[Page]:
        """What is new in one notification of Alertmanager, which repeats what it said of the other alerts."""
        fresh = []
        for alert in notification["alerts"]:
            state = (alert["status"], alert["startsAt"])
            if self._last.get(alert["fingerprint"]) == state:
                continue
            self._last[alert["fingerprint"]] = state
            fresh.append(Page(time.time(), alert["status"], alert["labels"], alert.get("annotations", {})))
        self.kept += fresh
        with self.path.open("a") as file:
            file.writelines(json.dumps(as_json(page)) + "\n" for page in fresh)
        return fresh


def as_json(page: Page) -> dict[str, Any]:
    return {"at": page.at, "status": page.status, "labels": page.labels, "annotations": page.annotations}
