"""The console's tests in a browser share the web's fixtures."""

from __future__ import annotations

import pytest

from tests.browser.chromium import PROGRAMS, program_of_browser
from tests.web.conftest import site

__all__ = ["site"]


@pytest.fixture(autouse=True)
def _browser() -> None:
    if program_of_browser() is None:
        pytest.skip(f"{PROGRAMS[0]} is missing: tools/fetch brings it where apt is")
