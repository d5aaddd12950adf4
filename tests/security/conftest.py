"""Fixtures of the tests of security."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def ownership(settings: Any) -> None:
    """Jobs belong to groups by their tags."""
    settings.SCHEDULER = {**settings.SCHEDULER, "ownership": "tag"}
