"""How the daemon logs: an event name and key-values, as text on a terminal, as logfmt or JSON elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from structlog.typing import Processor

from monitor.core.scrub import scrub

Secrets = Callable[[], Iterable[str]]


def configure(secrets: Secrets, style: str, level: str, *, steps: Sequence[Processor] = ()) -> None:
    """Log to standard error. No line leaves with a secret in it, tracebacks included.

    `steps` are of the terminal's: what is logged goes through them where it is written as text for people.
    """
    if style == "auto":
        style = "console" if sys.stderr.isatty() else "logfmt"
    numbers = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _Scrub(secrets),
            *(steps if style == "console" else ()),
            _renderer(style),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numbers[level]),
        logger_factory=lambda *_: _Writer(),
        cache_logger_on_first_use=False,
    )
    # Libraries log by the standard way; what they say at warning and above goes the same road.
    logging.basicConfig(level=logging.WARNING, handlers=[_ToStructlog()], force=True)


class _Writer:
    """Writes lines to standard error; a full disk behind it must not stop the one who logs."""

    def msg(self, message: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(message + "\n")
            sys.stderr.flush()

    log = debug = info = warn = warning = error = critical = exception = fatal = failure = msg


class _Scrub:
    """Replaces every secret in every value of a line."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {key: self._clean(value) for key, value in event.items()}

    def _clean(self, value: Any) -> Any:
        if isinstance(value, int | float | bool | None):
            return value
        if isinstance(value, list | tuple):
            return [self._clean(item) for item in value]
        return scrub(str(value), self._secrets())


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno, "library", logger=record.name, text=record.getMessage(), exc_info=record.exc_info or None
        )


def _renderer(style: str) -> Any:
    if style == "json":
        return structlog.processors.JSONRenderer()
    if style == "logfmt":
        return structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
