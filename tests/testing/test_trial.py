"""A trial says of every bad stage what it breaks, and nothing of a good one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streamgen.testing.trial import Trial, tried
from streamgen.testing.watch import Report, watched
from tests.conftest import Install

HERE = "tests.testing.stages"


def found(stage: str, *steps: str, **params: Any) -> list[str]:
    """What some steps of a trial find, in this process."""
    trial = Trial(stage, params)
    said: list[str] = []
    for step in ("load", *steps):
        said += [finding.said for finding in getattr(trial, step)()]
    return said


QUICK = ("ordinary", "sizes", "contents", "limits", "repeat", "forget", "memory")


@pytest.mark.parametrize("name", ["Plain", "Negative", "Late"])
def test_nothing_is_said_of_a_good_stage(install: Install, name: str) -> None:
    install(good=f"{HERE}:{name}")
    assert found("good", *QUICK) == []


@pytest.mark.parametrize(
    ("name", "step", "said"),
    [
        ("WrongName", "ordinary", "gives no 'picture', which it declares, for a picture of 320"),
        ("NotANumber", "ordinary", "gives numbers that are not finite as 'mask'"),
        ("Scribbles", "ordinary", "writes into its input 'picture', which others read"),
        ("Overruns", "contents", "gives a picture with bytes written behind its rows"),
        ("EvenOnly", "sizes", "refuses 321x243: takes even sizes only"),
        ("Counts", "repeat", "gives another result for the same picture"),
        ("KeepsAll", "forget", "remembers the past after reset()"),
        ("Leaks", "memory", "grows by "),
        ("Slow", "speed", "ms for a 720p picture on this machine, and 30 a second"),
        ("NoClose", "load", "has no output_size and no process and no reset and no close"),
    ],
)
def test_what_a_stage_breaks_is_said(install: Install, name: str, step: str, said: str) -> None:
    install(bad=f"{HERE}:{name}")
    seen: list[str] = []

    def tell(event: Mapping[str, Any]) -> None:
        seen.append(str(event.get("said", "")))

    trial = Trial("bad")
    chosen = [one for one in trial.steps() if one[1].__name__ in {"load", step}]
    trial.steps = lambda: chosen  # type: ignore[method-assign]
    tried(trial, tell, only_load=False)
    assert any(said in one for one in seen), seen


def test_what_it_raises_is_said_once_and_ends_the_trial(install: Install) -> None:
    install(bad=f"{HERE}:Raises")
    events: list[Mapping[str, Any]] = []
    tried(Trial("bad"), events.append, only_load=False)
    said = [event["said"] for event in events if "said" in event]
    assert said == ["raises ValueError: no such thing, while looking at an ordinary picture"]


def test_a_refused_ordinary_picture_is_broken(install: Install) -> None:
    install(bad=f"{HERE}:Refuses")
    events: list[Mapping[str, Any]] = []
    tried(Trial("bad"), events.append, only_load=False)
    [finding] = [event for event in events if "said" in event]
    assert finding["broken"] and "refuses a picture of 320x240: not today" in finding["said"]


def test_a_parameter_without_a_default_is_asked_for(install: Install) -> None:
    install(asks=f"{HERE}:Asks")
    events: list[Mapping[str, Any]] = []
    tried(Trial("asks"), events.append, only_load=False)
    assert events[-1]["figures"]["needs"] == "missing key 'level'"
    assert not any("said" in event for event in events)
    assert found("asks", "ordinary", level=3) == []


def test_only_parameters_that_change_live_are_tried_at_their_limits(install: Install) -> None:
    install(good=f"{HERE}:Negative", fixed=f"{HERE}:Fixed")
    assert found("good", "limits") == []
    assert found("fixed", "limits") == []


def by_process(install: Install, name: str, **options: Any) -> Report:
    install(bad=f"{HERE}:{name}")
    return watched("bad", **options)


def test_a_crash_is_reported_with_its_signal_and_last_words(install: Install) -> None:
    report = by_process(install, "Crashes")
    assert report.broken == [
        "crashes (SIGSEGV) while looking at an ordinary picture; "
        "its last words: 'about to read nothing'"
    ]
    assert report.figures == {}


def test_leaving_the_process_is_reported(install: Install) -> None:
    report = by_process(install, "Leaves")
    assert report.broken == [
        "ends the process (exit status 3) while looking at an ordinary picture"
    ]


def test_a_hang_is_ended_and_leaves_no_process(install: Install) -> None:
    began = time.monotonic()
    report = by_process(install, "Hangs", step_s=4.0)
    assert "hangs: no answer for 4 s while looking at an ordinary picture" in report.broken[0]
    assert time.monotonic() - began < 20
    assert not any("streamgen.testing.check bad" in one for one in commands())


def commands() -> list[str]:
    """Command lines of all processes of this machine."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return lines


def test_what_is_printed_is_broken_and_does_not_reach_us(
    install: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    report = by_process(install, "Chatters")
    assert len(report.broken) == 1 and "prints to standard output" in report.broken[0]
    assert "'processing a picture, all is well'" in report.broken[0]
    assert capfd.readouterr().out == ""


def test_only_loading_runs_nothing(install: Install) -> None:
    report = by_process(install, "Crashes", only_load=True)
    assert (report.state, report.figures["inputs"]) == ("fine", {"picture": "picture"})


def test_no_descriptor_stays_open(install: Install) -> None:
    before = len(os.listdir("/proc/self/fd"))
    by_process(install, "Plain", only_load=True)
    assert len(os.listdir("/proc/self/fd")) == before
    assert sys.executable  # the trial runs in this interpreter's environment
