"""Isolated stages that go wrong in every way there is: nothing is lost, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamgen.errors import ConfigError, StageError, StageUnavailable
from streamgen.graph.declared import stage_class
from streamgen.graph.isolation.isolated import IsolatedStage
from streamgen.graph.isolation.zygote import zygote
from streamgen.graph.spec import Limits, NodeSpec
from streamgen.media.frame import Frame
from streamgen.media.shared import SharedPool
from streamgen.testing import picture
from tests.graph.isolation.test_isolated import context, is_negative, write_plugins

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory files are Linux's")

STAGES = ("Troubled", "Afterwards", "Marks", "Prepared", "ShortLived")
Opened = Callable[..., Any]


@pytest.fixture(scope="module", autouse=True)
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("plugins")
    write_plugins(folder, "tests.graph.isolation.troubled", STAGES)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for name in STAGES:
        zygote(f"try-{name.lower()}", None).end()


@pytest.fixture
def opened() -> Iterator[Opened]:
    stages: list[IsolatedStage] = []

    def open_one(name: str, **node: Any) -> Any:
        node.setdefault("timeout", 20_000_000_000)  # a busy machine is no reason to fail
        spec = NodeSpec(stage=f"try-{name.lower()}", isolation="process").model_copy(update=node)
        found = stage_class(spec)
        stages.append(found(found.Params(**spec.params), context(pool=SharedPool())))
        return stages[-1]

    yield open_one
    for stage in stages:
        stage.close()


def restarted(stage: IsolatedStage, deaths: int) -> None:
    """Wait until the worker after so many deaths works."""
    deadline = time.monotonic() + 30
    while stage.deaths < deaths or stage.line._hand is None:
        assert time.monotonic() < deadline, "no new worker comes"
        time.sleep(0.002)


def spared(stage: Any) -> int:
    """Wait until a spare worker is ready; says which one."""
    hands = stage.line.keeper.hands
    assert wait_until(
        lambda: len(hands) == 2 and all(one.pid and not one.unanswered for one in hands)
    )
    return next(one.pid for one in hands if one.pid != stage.line.keeper.pid)


def result_of(stage: Any, frame: Frame, **params: Any) -> Frame:
    result = stage.process({"picture": frame}, stage.Params(**params)).outputs()["picture"]
    assert isinstance(result, Frame)
    return result


def told(stage: Any, way: str) -> str:
    """What is said of the picture on which the stage goes wrong."""
    with pytest.raises(StageError) as said:
        result_of(stage, picture(64, 48), way=way, every=1)
    return str(said.value)


@pytest.mark.parametrize("way", ["null", "signal", "exit", "raise", "shape", "name", "scribble"])
def test_every_picture_but_the_fatal_ones_is_right_and_none_is_lost(
    opened: Opened, way: str
) -> None:
    stage = opened("Troubled")
    params = stage.Params(way=way, every=5)
    sources = [picture(64, 48, seed=number).retimed(pts=number) for number in range(20)]
    bypassed = []
    for source in sources:
        began = time.monotonic()
        try:
            result = stage.process({"picture": source}, params).outputs()["picture"]
            assert is_negative(result, source)
            assert result.pts == source.pts
        except StageError:
            bypassed.append(source.pts)
        time.sleep(max(0.0, 1 / 30 - (time.monotonic() - began)))
    assert set(bypassed) >= {4, 9, 14, 19}
    assert len(bypassed) <= 10  # a busy machine takes longer than one picture to start anew
    assert stage.deaths == (4 if way in {"null", "signal", "exit", "scribble"} else 0)


def test_a_crash_says_how_and_where(opened: Opened) -> None:
    stage = opened("Troubled")
    text = told(stage, "null")
    assert text.startswith("stage try-troubled died (SIGSEGV); last words: ")
    assert "in spoil" in text  # the line of the plugin, by the fault handler
    restarted(stage, 1)
    assert "ended with status 3" in told(stage, "exit")


def test_an_exception_is_told_and_ends_nothing(opened: Opened) -> None:
    stage = opened("Troubled")
    assert told(stage, "raise") == "stage try-troubled: IndexError: no such face"
    assert "gave 'portrait', which it does not declare" in told(stage, "name")
    assert "a picture of 32x16 instead of 64x48" in told(stage, "shape")
    assert stage.deaths == 0


def test_a_stage_that_hangs_is_ended_after_its_time(opened: Opened) -> None:
    stage = opened("Troubled", timeout=60_000_000)
    began = time.monotonic()
    assert "gave no answer for 60 ms and was ended" in told(stage, "hang")
    assert time.monotonic() - began < 20  # of 60
    restarted(stage, 1)
    source = picture(64, 48)
    assert is_negative(result_of(stage, source), source)


def test_while_there_is_no_worker_a_picture_does_not_wait(opened: Opened) -> None:
    stage = opened("ShortLived")  # each start fails: the next one is given more time
    source = picture(64, 48)
    for _ in range(100):
        try:
            reply = stage.process({"picture": source}, stage.Params())
        except StageUnavailable as error:
            assert "is being started again" in str(error)
            return
        with pytest.raises(StageError, match="died"):
            reply.outputs()
    pytest.fail("a stage that dies at every picture is always there")


def test_a_stage_that_leaks_is_ended_at_its_limit(opened: Opened) -> None:
    stage = opened("Troubled", limits=Limits(memory_mb=150), timeout=2_000_000_000)
    with pytest.raises(StageError, match=r"uses \d+ MB, more than 150, and was ended"):
        for _ in range(5):
            result_of(stage, picture(64, 48), way="leak", every=1)
    restarted(stage, 1)
    source = picture(64, 48)
    assert is_negative(result_of(stage, source), source)


def test_megabytes_of_words_hold_nothing_up(opened: Opened) -> None:
    stage = opened("Troubled")
    source = picture(64, 48)
    assert is_negative(result_of(stage, source, way="print", every=1), source)
    result_of(stage, source)
    stage.close()
    assert stage.line.keeper.printed == len("many words ") * 500_000


def test_numbers_that_are_none_are_refused(opened: Opened) -> None:
    stage = opened("Marks")
    params = stage.Params(every=3)
    good = []
    for number in range(6):
        source = picture(64, 48).retimed(pts=number)
        try:
            stage.process({"picture": source}, params).outputs()
            good.append(number)
        except StageError as error:
            assert "NaN" in str(error)
    assert good == [0, 1, 3, 4]


def test_an_input_cannot_be_written(opened: Opened) -> None:
    stage = opened("Troubled")
    source = stage._source.shared(picture(64, 48))
    before = source.planes[0].array().copy()
    assert "died (SIGSEGV)" in told(stage, "scribble")
    restarted(stage, 1)
    with pytest.raises(StageError, match="SIGSEGV"):
        result_of(stage, source, way="scribble", every=1)
    assert (source.planes[0].array() == before).all()


def test_a_picture_that_was_given_away_cannot_be_written_any_more(opened: Opened) -> None:
    stage = opened("Afterwards")
    source = picture(64, 48)
    given = result_of(stage, source)
    with pytest.raises(StageError, match=r"died \(SIGSEGV\)"):
        result_of(stage, source)
    assert is_negative(given, source)


def test_what_was_prepared_is_prepared_again_in_a_new_process(opened: Opened) -> None:
    stage = opened("Prepared")
    source = picture(64, 48).retimed(pts=4)
    stage.prepare(64, 48, source.color)
    for number in range(4):
        result_of(stage, source.retimed(pts=number))
    with pytest.raises(StageError, match="SIGKILL"):
        result_of(stage, source, every=5)
    restarted(stage, 1)
    assert is_negative(result_of(stage, source), source)
    with pytest.raises(StageError, match="not prepared"):
        result_of(stage, picture(32, 16))


def test_what_a_plugin_started_ends_with_it(opened: Opened) -> None:
    stage = opened("Troubled")
    told(stage, "child")
    restarted(stage, 1)
    pid = stage.zygote.pid
    assert pid is not None
    assert not [name for name in family(pid) if "sleep" in name]


def test_the_zygote_may_be_killed_too(opened: Opened) -> None:
    stage = opened("Troubled")
    source = picture(64, 48)
    first = stage.zygote.pid
    worker = stage.line.keeper.pid
    os.kill(first, signal.SIGKILL)

    def works() -> bool:
        try:
            return stage.zygote.pid not in {None, first} and is_negative(
                result_of(stage, source), source
            )
        except StageError:
            return False

    assert wait_until(works)
    assert wait_until(lambda: not running(worker))


HOST = """
import sys, time
sys.path[:0] = {path!r}
from streamgen.graph.declared import stage_class
from streamgen.graph.spec import NodeSpec
from tests.graph.isolation.test_isolated import context
from streamgen.testing import picture
found = stage_class(NodeSpec(stage="try-troubled", isolation="process"))
params = found.Params({params})
stage = found(params, context())
print(stage.zygote.pid, stage.line.keeper.pid, flush=True)
reply = stage.process({{"picture": picture(64, 48)}}, params)
time.sleep(60)
"""


@pytest.mark.parametrize("params", ["", "way='hang', every=1"])
def test_a_killed_host_leaves_no_process_and_no_file(params: str) -> None:
    before = set(os.listdir("/dev/shm"))
    script = HOST.format(path=sys.path, params=params)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as host:
        assert host.stdout is not None
        pids = [int(pid) for pid in host.stdout.readline().split()]
        assert len(pids) == 2
        time.sleep(0.05)
        host.kill()
    assert wait_until(lambda: not any(running(pid) for pid in pids))
    # What others on this machine have there for a moment goes again.
    assert wait_until(lambda: before.issuperset(os.listdir("/dev/shm")))


def test_an_import_that_hangs_ends_with_the_host(tmp_path: Path) -> None:
    (tmp_path / "never_loaded.py").write_text(
        "import os, time\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    write_plugins(tmp_path, "never_loaded", ["Troubled"])
    script = HOST.format(path=[str(tmp_path), *sys.path[1:]], params="")
    with subprocess.Popen([sys.executable, "-c", script]) as host:
        assert wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        pid = int((tmp_path / "pid").read_text())
        host.kill()
    assert wait_until(lambda: not running(pid))


def test_an_import_that_crashes_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crashing.py").write_text(
        "import os, signal\nprint('so long', flush=True)\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    write_plugins(tmp_path, "crashing", ["Crashing"])
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"died \(SIGSEGV\) while it is loaded; last .*so long"):
        stage_class(NodeSpec(stage="try-crashing", isolation="process"))


def test_a_hundred_kills_leave_nothing_behind(opened: Opened) -> None:
    stage = opened("Troubled")
    source = stage._source.shared(picture(64, 48))
    result_of(stage, source)
    spared(stage)
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(1, 31):
        for _ in range(3):
            result_of(stage, source)
        os.kill(stage.line.keeper.pid, signal.SIGKILL)
        restarted(stage, number)
    result_of(stage, source)
    spared(stage)
    # The last one's are given back when its parent has said how it died.
    assert wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 2)
    assert wait_until(lambda: len(family(stage.zygote.pid)) == 2)  # one works, one is spare
    assert stage.line.pool.allocated <= 3


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def family(pid: int) -> list[str]:
    """Names of the processes that are children of this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(rest.split()[1]) == pid:
            found.append(name)
    return found


def wait_until(come: Callable[[], Any], limit_s: float = 30.0) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if come():
            return True
        time.sleep(0.01)
    return False
