"""The BFF's log as pino writes it: `combined.log`, and `error.log` for level 50 and worse, rotated by size.

The shapes are those of pino 10, pino-http 11 and nestjs-pino 4 with their defaults: numeric levels, epoch
milliseconds, and 5xx answers at level 30 (`info`), so that the status and not the level tells a failed request.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any, BinaryIO

INFO, WARN, ERROR = 30, 40, 50
ROTATE_BYTES = 5 * 2**20


class Log:
    """Appends lines to the two files in `folder`; one that has grown to `rotate_bytes` is renamed to `….1`."""

    def __init__(self, folder: Path, rotate_bytes: int = ROTATE_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._head = {"pid": os.getpid(), "hostname": socket.gethostname()}
        self._combined = _Rotated(folder / "combined.log", rotate_bytes)
        self._error = _Rotated(folder / "error.log", rotate_bytes)

    def write(self, level: int, msg: str, **fields: Any) -> None:
        """One line. `fields` come between the head and `msg`, as pino puts them."""
        record = {"level": level, "time": int(time.time() * 1000), **self._head, **fields, "msg": msg}
        line = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        self._combined.append(line)
        if level >= ERROR:
            self._error.append(line)

    def close(self) -> None:
        self._combined.close()
        self._error.close()


class _Rotated:
    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._file = self._open()

    def _open(self) -> BinaryIO:
        return self._path.open("ab", buffering=0)

    def append(self, line: bytes) -> None:
        self._file.write(line)
        if self._file.tell() >= self._most_bytes:
            self._file.close()
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            self._file = self._open()

    def close(self) -> None:
        self._file.close()


def error(type_: str, message: str, code: str | None = None) -> dict[str, Any]:
    """An exception as pino's `err` serializer writes it."""
    stack = f"{type_}: {message}\n    at BffService.handle (/app/apps/bff/dist/main.js:1:1)"
    return {"type": type_, "message": message, "stack": stack, **({"code": code} if code else {})}
