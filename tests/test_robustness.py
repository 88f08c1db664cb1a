"""docs/robustness.md names every case that is tried, and tests that are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.conftest import ROOT
from tests.live.bad_pictures import FORMATS, PICTURES
from tests.live.bad_sounds import CLOCKS, SOUNDS
from tests.live.damage import Case

PAGE = ROOT / "docs" / "robustness.md"
CASES = PICTURES | FORMATS | SOUNDS | CLOCKS
WRONG = ("Pictures", "Formats of pictures", "Sound", "Clocks")
"""Sections whose rows are cases of `test_bad_publishers_disturb_nobody`."""


def rows(section: str) -> Iterator[list[str]]:
    text = PAGE.read_text(encoding="utf-8")
    part = re.search(rf"^#+ {section}$(.*?)(?=^#|\Z)", text, re.M | re.S)
    assert part is not None, section
    for line in re.findall(r"^\| (.*) \|$", part[1], re.M)[2:]:
        yield line.split(" | ")


def named() -> list[str]:
    return re.findall(r"`(tests/\S+?\.py::\w+)`", PAGE.read_text(encoding="utf-8"))


@cache
def functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


def test_every_test_that_the_page_names_is_there() -> None:
    assert len(named()) > 50
    missing = [one for one in named() if one.partition("::")[2] not in functions(_file(one))]
    assert missing == []


def _file(name: str) -> str:
    return name.partition("::")[0]


def test_every_row_has_what_goes_wrong_what_happens_and_a_test() -> None:
    for section in ("More of pictures and sound", "HLS", "Disks", "WebRTC", "Targets of pushes"):
        found = list(rows(section))
        assert len(found) > 10, section
        for cells in found:
            assert len(cells) == 3 and cells[2].strip("`") in named(), cells


def test_the_page_has_every_case_of_bad_publishers_and_no_other() -> None:
    told = [cells[0] for section in WRONG for cells in rows(section)]
    assert told == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_what_the_page_says_of_a_case_is_what_its_test_asks_for(name: str) -> None:
    case: Case = CASES[name]
    [said] = [cells[1] for section in WRONG for cells in rows(section) if cells[0] == name]
    assert ("play" in said) == bool(case.plays), said
    assert ("closed" in said) == bool(case.closed), said
    assert re.findall(r"`left_out: (\w+)`", said) == [case.left_out] * bool(case.left_out)
    assert re.findall(r"`(\w+)` is counted", said) == [case.mended] * bool(case.mended)


def test_readme_leads_to_the_page() -> None:
    assert "(docs/robustness.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
