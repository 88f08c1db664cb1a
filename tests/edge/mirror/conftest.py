"""A tape of two rungs and sound, made once."""

from __future__ import annotations

import pytest

from .edges import Tape, tape


@pytest.fixture(scope="package")
def taped() -> Tape:
    return tape()
