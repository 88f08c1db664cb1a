"""What the tests of stages share: the harsh pool, and pictures that lie badly in memory."""

from __future__ import annotations

import pytest

from streamgen.media.frame import CPU
from streamgen.protocols import Mode, StageContext
from streamgen.testing import HarshPool, NoEngines


@pytest.fixture
def pool() -> HarshPool:
    return HarshPool()


@pytest.fixture
def context(pool: HarshPool) -> StageContext:
    """Of a stage without a network."""
    return StageContext(CPU, Mode.OFFLINE, pool, pool.meter, NoEngines(), {})
