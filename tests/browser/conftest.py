"""The console's tests in a browser share the web's fixtures."""

from __future__ import annotations

from tests.web.conftest import site

__all__ = ["site"]
