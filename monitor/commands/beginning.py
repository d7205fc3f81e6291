"""The configuration that an operator begins with, and what of it is still a placeholder.

An installed package has the shipped files beside it, in `monitor/starter`; a checkout has them at its top.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from monitor.core.source import Problem

_HERE = Path(__file__).parent.parent
_PLACEHOLDER = re.compile(r"""(?x)
    https?://[^/\s"']*\bexample\.com        # one word for each address, whatever follows
    | [\w.+-]+@[\w.-]*\bexample\.com
    | \#[\w-]*example\b
""")


class BeginError(Exception):
    """The files cannot be written; one line says why."""


def shipped() -> dict[str, Path]:
    """The files that are shipped, by the names that they have in an operator's folder."""
    top = _HERE / "starter" if (_HERE / "starter").is_dir() else _HERE.parent
    paths = [top / "probes.yaml", *sorted(path for path in (top / "alerts").rglob("*") if path.is_file())]
    return {str(path.relative_to(top)): path for path in paths}


def begin(folder: Path) -> list[Path]:
    """Write the shipped files into `folder`, none over another; the paths written. Raises BeginError, and writes none."""
    texts = {folder / name: path.read_bytes() for name, path in shipped().items()}
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
