"""Units, and settings from text."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgen.config import (
    Bitrate,
    DurationNs,
    Settings,
    load,
    parse_bitrate,
    parse_duration,
    read_yaml,
)
from streamgen.errors import ConfigError


class Both(Settings):
    rate: Bitrate = 1
    every: DurationNs = 1


@pytest.mark.parametrize(
    ("text", "bits"),
    [("2500k", 2_500_000), ("2.5M", 2_500_000), ("64000", 64_000), (64_000, 64_000)],
)
def test_bitrates_have_units(text: str | int, bits: int) -> None:
    assert parse_bitrate(text) == bits


@pytest.mark.parametrize(
    ("text", "ns"), [("2s", 2 * 10**9), ("333ms", 333 * 10**6), ("1.5min", 90 * 10**9)]
)
def test_durations_have_units(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize("text", ["2", 2, 2.0, "-1s", "2 h", "", None, True])
def test_a_duration_without_a_known_unit_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("unit", ["", "k", "s", "min"])
def test_numbers_beyond_all_measure_are_refused(unit: str) -> None:
    for read in (parse_bitrate, parse_duration):
        with pytest.raises(ValueError, match="not a"):
            read("9" * 400 + unit)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("at: 2026-02-30", "not a value"),
        ("n: " + "9" * 5000, "not a value"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested too deep"),
        ("a: &a\n  b: *a", "nested too deep|unhashable|recursive|within itself"),
    ],
    ids=["no such day", "long number", "deep", "within itself"],
)
def test_yaml_that_makes_no_values_names_the_file(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_yaml(path)


def test_a_few_lines_of_aliases_are_read_in_no_time(tmp_path: Path) -> None:
    path = tmp_path / "laughs.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    path.write_text("\n".join(lines))
    began = time.monotonic()
    read_yaml(path)
    assert time.monotonic() - began < 2


@given(st.integers(0, 10**9))
def test_milliseconds_are_exact(number: int) -> None:
    assert parse_duration(f"{number}ms") == number * 1_000_000


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00\x00")
    with pytest.raises(ConfigError, match=r"x.yaml"):
        load(Both, path)


def test_a_value_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Both().rate = 3  # type: ignore[misc]


def test_a_file_that_stands_within_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("graph: &a {a: *a}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a\.yaml: nested too deep, or within itself"):
        read_yaml(path)
