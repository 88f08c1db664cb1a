"""Isolated stages that behave: real processes, pictures by reference, no copy too many."""

from __future__ import annotations

import gc
import os
import sys
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgen.errors import ConfigError, StageError
from streamgen.graph.declared import stage_class
from streamgen.graph.isolation.isolated import IsolatedStage
from streamgen.graph.isolation.zygote import zygote
from streamgen.graph.spec import NodeSpec
from streamgen.media.frame import CPU, Device, Frame, Sheet
from streamgen.media.pool import CopyMeter, FramePool
from streamgen.media.shared import SharedPool, slot_of
from streamgen.protocols import Mode, StageContext
from streamgen.testing import NoEngines, frame_of, picture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory files are Linux's")

STAGES = (
    "Negative",
    "Same",
    "Own",
    "Before",
    "Hoarder",
    "Late",
    "Marks",
    "Unbuildable",
    "Prepared",
    "Doubled",
)
Opened = Callable[..., IsolatedStage]


def write_plugins(folder: Path, module: str, names: Sequence[str]) -> None:
    """What an installed package of stages leaves on the import path."""
    about = folder / "troubled_stages-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: troubled-stages\nVersion: 1.0\n")
    lines = [f"try-{name.lower()} = {module}:{name}" for name in names]
    (about / "entry_points.txt").write_text("\n".join(["[streamgen.stages]", *lines]))


@pytest.fixture(scope="module", autouse=True)
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("plugins")
    write_plugins(folder, "tests.graph.isolation.troubled", STAGES)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    for name in STAGES:
        zygote(f"try-{name.lower()}", None).end()


def context(mode: Mode = Mode.LIVE, pool: Any = None, device: Device = CPU) -> StageContext:
    pool = FramePool() if pool is None else pool
    return StageContext(device, mode, pool, pool.meter, NoEngines(), {})


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open a stage of this module by its class's name; closed at the end."""
    stages: list[IsolatedStage] = []

    def open_one(name: str, *, pool: Any = None, mode: Mode = Mode.LIVE, **node: Any) -> Any:
        node.setdefault("timeout", "20s")  # a test must not fail because the machine is busy
        spec = NodeSpec(stage=f"try-{name.lower()}", isolation="process", **node)
        found = stage_class(spec)
        stage = found(found.Params(**spec.params), context(mode, pool))
        stages.append(stage)
        return stage

    yield open_one
    for stage in stages:
        stage.close()


def painted(stage: Any, frame: Frame, **params: Any) -> Frame:
    result = stage.process({"picture": frame}, stage.Params(**params)).outputs()["picture"]
    assert isinstance(result, Frame)
    return result


def is_negative(frame: Frame, of: Frame) -> bool:
    return all(
        bool((a.array() == 255 - b.array()).all())
        for a, b in zip(frame.planes, of.planes, strict=True)
    )


def test_a_stage_works_in_another_process_and_its_picture_comes_back(opened: Opened) -> None:
    source = picture(98, 54).retimed(
        pts=70, duration=3, rotation=90, sar=Fraction(4, 3), received_ns=5, epoch=2, keyframe=True
    )
    result = painted(opened("Negative"), source)
    assert is_negative(result, source)
    tags = ("pts", "time_base", "duration", "rotation", "sar", "received_ns", "epoch", "keyframe")
    assert all(getattr(result, tag) == getattr(source, tag) for tag in (*tags, "color", "layout"))


def test_a_decoded_picture_is_copied_once_however_many_stages_read_it(opened: Opened) -> None:
    pool = SharedPool()
    first, second = opened("Negative", pool=pool), opened("Same", pool=pool)
    source = picture(64, 48)
    painted(first, source)
    painted(second, source)
    assert pool.meter.planes == {"shared": 3}


def test_a_picture_in_shared_memory_is_never_copied(opened: Opened) -> None:
    pool = SharedPool()
    chain = [opened(name, pool=pool) for name in ("Negative", "Same", "Negative")]
    source = pool.shared(picture(64, 48))
    before = dict(pool.meter.planes)
    result = source
    for stage in chain:
        result = painted(stage, result)
    assert pool.meter.planes == before
    assert slot_of(result) is not None
    assert all(
        (a.array() == b.array()).all() for a, b in zip(result.planes, source.planes, strict=True)
    )


def test_a_picture_that_passes_is_the_very_same_one(opened: Opened) -> None:
    pool = SharedPool()
    source = pool.shared(picture(64, 48))
    assert painted(opened("Same", pool=pool), source).planes is source.planes


def test_a_result_in_the_stage_s_own_memory_costs_one_copy(opened: Opened) -> None:
    pool = SharedPool()
    stage = opened("Own", pool=pool)
    source = pool.shared(picture(64, 48))
    before = pool.meter.planes["shared"]
    result = painted(stage, source)
    assert is_negative(result, source)
    assert pool.meter.planes["shared"] - before == 3


def test_buffers_come_back_when_nobody_has_the_picture_any_more(opened: Opened) -> None:
    pool = SharedPool()
    stage = opened("Negative", pool=pool)
    for number in range(30):
        painted(stage, pool.shared(picture(64, 48)).retimed(pts=number))
    pool.forget()
    assert stage.line.pool.allocated <= 2
    assert stage.line.pool.free == stage.line.pool.allocated


def test_a_stage_may_keep_a_picture_and_nobody_else_gets_its_buffer(opened: Opened) -> None:
    stage = opened("Before", pool=SharedPool())
    sources = [picture(64, 48, seed=number).retimed(pts=number) for number in range(12)]
    results = [painted(stage, source) for source in sources]
    for number in range(1, 12):
        wanted = sources[number - 1].planes[0].array()
        assert (results[number].planes[0].array() == wanted).all()
        assert results[number].pts == number


def test_a_reset_lets_go_of_kept_pictures(opened: Opened) -> None:
    stage = opened("Before")
    painted(stage, picture(64, 48, seed=1))
    stage.reset()
    last = picture(64, 48, seed=2)
    assert (painted(stage, last).planes[0].array() == last.planes[0].array()).all()


def test_a_stage_that_gives_nothing_back_is_started_anew(opened: Opened) -> None:
    stage = opened("Hoarder", pool=SharedPool())
    lost = 0
    for number in range(150):
        try:
            painted(stage, picture(32, 16).retimed(pts=number))
        except StageError:
            lost += 1
            time.sleep(0.02)
    assert stage.deaths >= 1
    assert lost <= 10
    assert stage._source.allocated < 100


def test_latency_and_what_is_left_at_the_end_cross_too(opened: Opened) -> None:
    stage = opened("Late")
    sources = [picture(64, 48, seed=number).retimed(pts=number) for number in range(6)]
    given = [stage.process({"picture": one}, stage.Params()).outputs() for one in sources]
    results = [one["picture"] for one in given if one]
    results += [one["picture"] for one in stage.flush()]
    assert [one.pts for one in results] == list(range(6))
    assert all(is_negative(a, b) for a, b in zip(results, sources, strict=True))


def test_sheets_cross_both_ways_and_are_copied_once(opened: Opened) -> None:
    meter = CopyMeter()
    pool = SharedPool(meter)
    stage = opened("Marks", pool=pool)
    source = pool.shared(picture(64, 48))
    boxes = Sheet("boxes", np.array([[8, 4, 24, 20]], np.float32), 0, source.time_base)
    masks = []
    for number in range(3):
        inputs = {"picture": source.retimed(pts=number), "boxes": boxes}
        masks.append(stage.process(inputs, stage.Params()).outputs()["mask"])
    assert masks[0].data.shape == (24, 32)
    assert masks[2].data.sum() == 8 * 8
    assert masks[1].pts == 1
    assert meter.planes["shared"] == 3 + 1 + 3  # the picture, the boxes once, each mask


def test_several_pictures_may_be_on_their_way(opened: Opened) -> None:
    stage = opened("Negative")
    sources = [picture(64, 48, seed=number).retimed(pts=number) for number in range(5)]
    replies = [stage.process({"picture": one}, stage.Params()) for one in sources]
    called: list[int] = []
    replies[-1].fence.on_done(lambda: called.append(1))
    results = [reply.outputs()["picture"] for reply in replies]
    assert all(is_negative(a, b) for a, b in zip(results, sources, strict=True))
    replies[-1].fence.on_done(lambda: called.append(2))
    assert called == [1, 2]


def test_parameters_are_checked_where_the_stage_lives(opened: Opened) -> None:
    params = stage_class(NodeSpec(stage="try-negative", isolation="process")).Params
    assert params(amount=0.25, hold="3ms", way="exit").model_dump() == {
        "amount": 0.25,
        "hold": 3_000_000,
        "way": "exit",
        "every": 0,
    }
    with pytest.raises(ConfigError, match="amount: Input should be less than or equal to 1"):
        NodeSpec(stage="try-negative", isolation="process", params={"amount": 2}).settings()
    with pytest.raises(ConfigError, match="unknown key 'size'"):
        NodeSpec(stage="try-negative", isolation="process", params={"size": 2}).settings()
    assert params.model_json_schema()["properties"]["amount"]["maximum"] == 1.0
    assert params.model_json_schema()["properties"]["amount"]["description"] == "Of nothing."


def test_a_class_declares_what_the_other_side_declares() -> None:
    found = stage_class(NodeSpec(stage="try-marks", isolation="process"))
    assert list(found.inputs) == ["picture", "boxes"]
    assert found.inputs["boxes"].optional
    assert str(found.outputs["mask"]) == "mask float32 0..1"
    assert found.fixed == {"hold"}
    assert stage_class(NodeSpec(stage="try-late", isolation="process")).latency == 2


def test_a_stage_that_cannot_be_built_says_why(opened: Opened) -> None:
    with pytest.raises(ConfigError, match="try-unbuildable: there is no cascade for ears"):
        opened("Unbuildable")


def test_an_unknown_stage_and_a_missing_interpreter_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown stage 'try-nothing'"):
        stage_class(NodeSpec(stage="try-nothing", isolation="process"))
    with pytest.raises(ConfigError, match="cannot start /nowhere/python"):
        stage_class(NodeSpec(stage="try-negative", isolation="process", python="/nowhere/python"))


def test_pictures_that_do_not_lie_in_host_memory_are_refused() -> None:
    found = stage_class(NodeSpec(stage="try-same", isolation="process"))
    with pytest.raises(ConfigError, match="host memory"):
        found(found.Params(), context(device=Device("cuda")))


def test_pictures_that_do_not_fit_into_memory_are_refused_with_figures(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = opened("Same")
    monkeypatch.setattr("streamgen.graph.isolation.isolated.memory_left", lambda: 10 << 20)
    with pytest.raises(ConfigError, match="take about 21 MB, 10 MB are left"):
        stage.prepare(1280, 720, picture(2, 2).color)
    monkeypatch.setattr("streamgen.graph.isolation.isolated.memory_left", lambda: 30 << 20)
    stage.prepare(1280, 720, picture(2, 2).color)
    assert "30 MB are left" in stage.notes[0]


def test_a_stage_of_another_environment_works_and_is_not_imported_here(
    tmp_path: Path, opened: Opened
) -> None:
    venv.create(tmp_path / "other", with_pip=False, symlinks=True)
    packages = next((tmp_path / "other" / "lib").glob("python*/site-packages"))
    own = [path for path in sys.path if path.endswith("site-packages")]
    root = str(Path(__file__).resolve().parents[3])
    (packages / "shared.pth").write_text("\n".join([*own, root]))
    source = Path(__file__).with_name("troubled.py").read_text()
    (packages / "only_over_there.py").write_text(source)
    write_plugins(packages, "only_over_there", ["Afterwards", "Prepared"])
    python = str(tmp_path / "other" / "bin" / "python")
    stage = opened("Prepared", python=python)
    try:
        stage.prepare(64, 48, picture(2, 2).color)
        source_frame = picture(64, 48)
        assert is_negative(painted(stage, source_frame), source_frame)
        assert "only_over_there" not in sys.modules
    finally:
        stage.close()
        zygote("try-prepared", python).end()


def test_closing_leaves_no_process_and_no_descriptor(opened: Opened) -> None:
    opened("Same").close()  # what is loaded once is loaded now
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    stage = opened("Same")
    painted(stage, picture(64, 48))
    hand = stage.line._hand
    assert hand is not None and hand.pid is not None
    pid = hand.pid
    stage.close()
    assert not Path(f"/proc/{pid}").exists()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_stage_that_is_bypassed_keeps_the_size_that_it_would_give(opened: Opened) -> None:
    source = picture(63, 48).retimed(pts=5)
    found = opened("Doubled").bypass({"picture": source}, None)["picture"]
    assert (found.width, found.height, found.pts) == (126, 96, 5)
    assert found.planes[0].shape == (96, 126)
    near = found.planes[0].array()[::2, ::2].astype(int)
    far = source.planes[0].array()[::-1].astype(int)
    assert abs(near - source.planes[0].array()).mean() < abs(near - far).mean() / 2
    assert opened("Negative").bypass({"picture": source}, None)["picture"] is source


def test_odd_sizes_and_crops_cross_as_they_are(opened: Opened) -> None:
    planes = [np.arange(h * w, dtype=np.uint8).reshape(h, w) for h, w in ((7, 9), (4, 5), (4, 5))]
    source = frame_of(planes)
    assert is_negative(painted(opened("Negative"), source), source)
