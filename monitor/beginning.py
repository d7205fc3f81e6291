"""The configuration that an operator begins with, and what of it is still a placeholder.

An installed package has the shipped files beside it, in `monitor/starter`; a checkout has them at its top.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from monitor.core.source import Problem

FILES = (
    "probes.yaml", "alerts/runbook.yaml", "alerts/alertmanager.yml", "alerts/templates/portal.tmpl", "alerts/rules.yml",
    "alerts/rules_test.yml",
)  # fmt: skip

_HERE = Path(__file__).parent
_PLACEHOLDER = re.compile(r"""(?x)
    https?://[^/\s"']*\bexample\.com        # one word for each address, whatever follows
    | [\w.+-]+@[\w.-]*\bexample\.com
    | \#[\w-]*example\b
""")


class BeginError(Exception):
    """The files cannot be written; one line says why."""


def begin(folder: Path) -> list[Path]:
    """Write the shipped files into `folder`, none over another; the paths written. Raises BeginError, and writes none."""
    shipped = _HERE / "starter" if (_HERE / "starter").is_dir() else _HERE.parent
    texts = {folder / name: (shipped / name).read_bytes() for name in FILES}
    there = [path for path in texts if path.exists()]
    if there:
        raise BeginError(f"{there[0]} is there already; nothing was written")
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
    except OSError as error:
        raise BeginError(f"{error.filename}: {error.strerror}") from error
    return list(texts)


def placeholders(runbook: str) -> Iterator[Problem]:
    """What in Alertmanager's and Prometheus's files beside this runbook is still an example, each once."""
    for name in ("alertmanager.yml", "rules.yml"):
        path = Path(runbook).with_name(name)
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue  # they are kept elsewhere, or not used
        seen: set[str] = set()
        for number, line in enumerate(lines, 1):
            for found in _PLACEHOLDER.finditer(line.partition(" #")[0] if line.lstrip()[:1] != "#" else ""):
                if found[0] not in seen:
                    seen.add(found[0])
                    yield Problem(str(path), number, found.start() + 1, f"still a placeholder: {found[0]}")
