"""Whatever strangers send, only the documented errors come out, in bounded time and memory.

`make fuzz` hunts for what breaks this; each input that did is kept in `crashes/` and tried here.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.table import TARGETS
from tests.fuzz.target import LARGEST, check

CRASHES = sorted(path for path in (Path(__file__).parent / "crashes").rglob("*") if path.is_file())
SOME = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
each = pytest.mark.parametrize("name", TARGETS)


@pytest.mark.parametrize("path", CRASHES, ids=lambda path: f"{path.parent.name}/{path.name[:16]}")
def test_what_once_broke_a_parser_does_not_now(path: Path) -> None:
    check(TARGETS[path.parent.name], path.read_bytes())


@each
def test_what_honest_clients_send_is_read_whole_and_cut_short(name: str) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    assert seeds
    for seed in seeds:
        assert len(seed) <= LARGEST
        for end in {0, 1, len(seed) // 2, len(seed) - 1, len(seed)}:
            check(target, seed[:end])


@each
@SOME
@given(data=st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    check(TARGETS[name], data)


@each
@SOME
@given(seed=st.integers(0, 1 << 30))
def test_what_honest_clients_send_is_read_or_refused_with_damage(name: str, seed: int) -> None:
    dice = random.Random(seed)
    data = bytearray(dice.choice(TARGETS[name].seeds()))
    for _ in range(dice.randrange(1, 6)):
        at = dice.randrange(len(data) + 1)
        data[at : at + dice.randrange(3)] = dice.choice(
            [b"", b"\0", b"\xff" * 4, b"\x80\0", b"9" * 20, dice.randbytes(3), bytes(data[:20])]
        )
    check(TARGETS[name], bytes(data))


@each
def test_the_largest_input_costs_no_more_than_it_may(name: str) -> None:
    dice = random.Random(5)
    seed = dice.choice(TARGETS[name].seeds()) or b"\0"
    for data in (bytes(LARGEST), dice.randbytes(LARGEST), (seed * LARGEST)[:LARGEST]):
        check(TARGETS[name], data)
