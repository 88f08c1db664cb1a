from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from streamgen.protocols import Mode, ModelSpec
from streamgen.runtimes.cache import Question, TunedChoices, TuneResult, ask, chosen, processor

QUESTION = Question({"fp32": "ab"}, 64, 48, Mode.LIVE, 2, {"onnx": "1"}, "some processor")
ROWS = [
    TuneResult("onnx", "fp32", 2, 1, 3.0, 300.0, 4.0),
    TuneResult("openvino", "int8", 2, 1, 2.0, 400.0, 3.0, chosen=True),
]


def test_an_answer_is_read_as_it_was_written(tmp_path: Path) -> None:
    TunedChoices(tmp_path).write(QUESTION, ROWS)
    rows = TunedChoices(tmp_path).read(QUESTION)
    assert rows == ROWS
    assert chosen(rows).runtime == "openvino"
    assert [path.suffix for path in (tmp_path / "tuned").iterdir()] == [".json"]


@pytest.mark.parametrize(
    "changed",
    [
        {"files": {"fp32": "cd"}},
        {"files": {"fp32": "ab", "int8": "ef"}},
        {"width": 128},
        {"height": 96},
        {"mode": Mode.OFFLINE},
        {"cores": 4},
        {"versions": {"onnx": "2"}},
        {"processor": "another"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_question_has_no_answer(tmp_path: Path, changed: dict[str, object]) -> None:
    choices = TunedChoices(tmp_path)
    choices.write(QUESTION, ROWS)
    assert choices.read(replace(QUESTION, **changed)) is None


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b'{"rows": 5}',
        b'{"rows": [{"runtime": "onnx"}]}',
        b"\xff\xfe",
        b'{"rows": []}',
    ],
)
def test_a_damaged_answer_counts_as_none_and_is_replaced(tmp_path: Path, damage: bytes) -> None:
    choices = TunedChoices(tmp_path)
    choices.write(QUESTION, ROWS)
    path = tmp_path / "tuned" / f"{QUESTION.name()}.json"
    path.write_bytes(damage)
    assert choices.read(QUESTION) is None
    choices.write(QUESTION, ROWS)
    assert choices.read(QUESTION) == ROWS


def test_an_answer_with_impossible_numbers_counts_as_none(tmp_path: Path) -> None:
    choices = TunedChoices(tmp_path)
    choices.write(QUESTION, [replace(ROWS[1], threads=1, requests=9)])
    assert choices.read(QUESTION) is None
    choices.write(QUESTION, [ROWS[0]])
    assert choices.read(QUESTION) is None


def test_only_one_measures_a_question_at_a_time(tmp_path: Path) -> None:
    choices = TunedChoices(tmp_path)
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with TunedChoices(tmp_path).measuring(QUESTION):
            order.append("second")

    thread = threading.Thread(target=second)
    with choices.measuring(QUESTION):
        thread.start()
        assert waiting.wait(5)
        thread.join(0.05)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_the_question_knows_the_contents_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    model = ModelSpec("net", "style", {"fp32": path})
    names = set()
    for contents in (b"one", b"two"):
        path.write_bytes(contents)
        names.add(ask(model, 64, 48, Mode.LIVE, 2, {"onnx": "1"}).name())
    assert len(names) == 2


def test_a_processor_is_its_name_and_what_it_can_do(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    seen = []
    for flags in ("sse avx2", "avx2 sse", "sse avx2 avx512_vnni"):
        path.write_text(f"processor: 0\nmodel name\t: Fast 9000\nflags\t\t: {flags}\n")
        seen.append(processor(path))
    assert seen[0] == seen[1] != seen[2]
    assert seen[0].startswith("Fast 9000 ")
    assert processor(tmp_path / "missing")
