"""The plugin that forbids skips, in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SKIPS = {
    "call": "import pytest\ndef test(): pytest.skip('no program')\n",
    "fixture": "import pytest\n@pytest.fixture\ndef it(): pytest.skip('no program')\ndef test(it): assert it\n",
    "module": "import pytest\npytest.skip('no program', allow_module_level=True)\n",
    "mark": "import pytest\n@pytest.mark.skip(reason='no program')\ndef test(): assert True\n",
}


def test_every_kind_of_skip_fails_where_none_is_allowed_and_says_why(tmp_path: Path) -> None:
    for name, source in SKIPS.items():
        (tmp_path / f"test_{name}.py").write_text(source)
    (tmp_path / "test_expected.py").write_text("import pytest\n@pytest.mark.xfail\ndef test(): assert False\n")
    strict, lenient = _run(tmp_path, ci="true"), _run(tmp_path, ci="")
    assert strict.returncode == 1
    assert "1 failed, 1 xfailed, 3 errors" in strict.stdout
    assert strict.stdout.count("no program: nothing may be skipped here") >= len(SKIPS)
    assert lenient.returncode == 0
    assert "4 skipped, 1 xfailed" in lenient.stdout


def _run(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    options = ["-p", "tests.no_skips", "-p", "no:cacheprovider", "-c", os.devnull, "--continue-on-collection-errors"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--import-mode=importlib", f"--rootdir={folder}", str(folder)],
        cwd=ROOT,
        env={**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
