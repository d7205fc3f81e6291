"""Tells systemd how the daemon is: ready, reading its configuration again, alive, ending. Elsewhere it tells nobody.

The protocol is that of sd_notify(3): lines `NAME=value` in one datagram to the socket named by NOTIFY_SOCKET.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

READY = "READY=1"
ALIVE = "WATCHDOG=1"
STOPPING = "STOPPING=1"


class Systemd:
    """The service manager that started us, as the environment says; without NOTIFY_SOCKET there is none."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        address = (environment or {}).get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def tell(self, *lines: str) -> None:
        """Send these lines. A manager that does not listen is no reason to end: it never raises."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ours:
                ours.setblocking(False)
                ours.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            pass  # its own watchdog notices

    def reloading(self, monotonic: float) -> None:
        """Say that the configuration is read again; `READY=1` ends it."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={monotonic * 1e6:.0f}")
