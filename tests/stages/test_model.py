"""The stages that run networks, on the pool that shows who breaks the rules of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from streamgen.errors import ConfigError, ModelError
from streamgen.media.frame import (
    CPU,
    Color,
    Fence,
    Frame,
    Layout,
    Matrix,
    Plane,
    Range,
    plane_shapes,
)
from streamgen.media.pool import CopyMeter, FramePool, Pool
from streamgen.media.port import Contract
from streamgen.plugins import find_stage
from streamgen.protocols import Inputs, Mode, ModelSpec, StageContext
from streamgen.runtimes.choose import MeasuredEngines
from streamgen.stages.model import Enhance, Model, Style, Upscale
from streamgen.stages.planar import packed
from streamgen.testing import HarshPool, LateFence, ManualFence, picture
from tests.runtimes.networks import widened, widening

Build = Callable[..., Any]


class FakeEngine:
    """Keeps what it is given; its pictures are ready when `fence` has passed."""

    def __init__(self) -> None:
        self.given: list[tuple[Inputs, Mapping[str, Plane]]] = []
        self.fence: Any = ManualFence()
        self.busy_ns = 0
        self.closed = False

    def submit(self, inputs: Inputs, out: Mapping[str, Plane]) -> FakeEngine:
        self.given.append((inputs, out))
        return self

    def close(self) -> None:
        self.closed = True


class FakeEngines:
    """Remembers what was opened."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, int, int, str, bool]] = []
        self.engines: list[FakeEngine] = []
        self.running: dict[str, Any] = {}

    def open(
        self, model: ModelSpec, width: int, height: int, *, matrix: str, full_range: bool
    ) -> FakeEngine:
        self.opened.append((model.name, width, height, matrix, full_range))
        self.engines.append(FakeEngine())
        return self.engines[-1]


def catalog(folder: Path) -> dict[str, ModelSpec]:
    path = folder / "widening.onnx"
    path.write_bytes(widening())
    files = {"fp32": path}
    entries = [
        ModelSpec("starry", "style", files, live=("strength",)),
        ModelSpec("starry-large", "style", files, live=("strength",)),
        ModelSpec("restore", "restore", files, live=("strength",)),
        ModelSpec("sr-x2", "sr", files, scale=2),
        ModelSpec("theirs", "imported", files, live=("strength",)),
    ]
    return {entry.name: entry for entry in entries}


@pytest.fixture
def pool() -> HarshPool:
    return HarshPool()


@pytest.fixture
def fakes() -> FakeEngines:
    return FakeEngines()


@pytest.fixture
def build(tmp_path: Path, pool: HarshPool) -> Iterator[Build]:
    """Builds a stage on the harsh pool, with real engines unless others are given."""
    built: list[Any] = []

    def build(stage: Any = Style, engines: Any = None, **params: Any) -> tuple[Any, Any]:
        if engines is None:
            engines = MeasuredEngines(Mode.LIVE, cache=tmp_path, cores=1, tune="never")
        context = StageContext(CPU, Mode.LIVE, pool, pool.meter, engines, catalog(tmp_path))
        settings = stage.Params(**params)
        built.append(stage(settings, context))
        return built[-1], settings

    yield build
    for stage in built:
        stage.close()


def run(stage: Any, params: Any, frame: Frame) -> Frame:
    painted: Frame = stage.process({"picture": frame}, params)["picture"]
    if painted.ready is not None:
        painted.ready.wait()
    return painted


def pitched(width: int, height: int, pool: Pool) -> Frame:
    """A picture whose rows have poisoned bytes behind them, as decoders give at odd widths."""
    given = picture(width, height)
    out = pool.take(Layout.I420, width, height)
    for source, target in zip(given.planes, out.planes, strict=True):
        np.asarray(target)[:] = source.array()
    return out.publish(given)


@pytest.mark.parametrize("size", [(64, 48), (86, 48), (426, 240), (17, 31), (1, 1), (90, 66)])
def test_pad_bytes_never_reach_a_pixel(
    build: Build, pool: HarshPool, size: tuple[int, int]
) -> None:
    stage, params = build()
    frame = pitched(*size, pool)
    painted = run(stage, params, frame)
    assert (painted.width, painted.height) == size
    rows, columns = -(-size[1] // 4) * 4, -(-size[0] // 4) * 4
    for given, got, full in zip(
        frame.planes, painted.planes, plane_shapes(Layout.I420, columns, rows), strict=True
    ):
        source = given.array()
        missing = ((0, full[0] - source.shape[0]), (0, full[1] - source.shape[1]))
        wanted = widened(np.pad(source, missing, "edge"))[: source.shape[0], : source.shape[1]]
        np.testing.assert_array_equal(got.array(), wanted)
    assert pool.meter.planes == {"unpacked plane": 3}, "exactly one row copy"


def test_packed_pictures_are_lent_and_painted_in_place(
    build: Build, pool: HarshPool, fakes: FakeEngines
) -> None:
    stage, params = build(engines=fakes, strength=0.5)
    frame = picture(64, 48)
    painted = stage.process({"picture": frame}, params)["picture"]
    inputs, outs = fakes.engines[0].given[0]
    assert [inputs[name] for name in "yuv"] == list(frame.planes)
    assert inputs["strength"] == 0.5
    assert [outs[f"{name}_out"].ptr for name in "yuv"] == [p.ptr for p in painted.planes]
    assert painted.ready is fakes.engines[0].fence
    assert pool.meter.total == 0


def test_strength_0_is_the_picture_itself(build: Build, fakes: FakeEngines) -> None:
    stage, params = build(engines=fakes, strength=0.0)
    frame = picture(86, 48)
    assert stage.process({"picture": frame}, params)["picture"] is frame
    assert not fakes.opened


def test_times_and_tags_come_through(build: Build) -> None:
    stage, params = build()
    tags: dict[str, Any] = {
        "pts": 4711, "duration": 40, "epoch": 3, "rotation": 90, "received_ns": 9, "keyframe": True,
    }  # fmt: skip
    painted = run(stage, params, picture(86, 48).retimed(**tags))
    assert {name: getattr(painted, name) for name in tags} == tags


def test_a_picture_that_is_not_there_yet_is_waited_for(build: Build) -> None:
    stage, params = build()
    frame = picture(64, 48)
    wanted = widened(frame.planes[0].array())
    fence = LateFence(0.05)
    painted = run(stage, params, frame.retimed(ready=fence))
    assert fence.done()
    np.testing.assert_array_equal(painted.planes[0].array(), wanted)


def test_a_failed_stage_before_is_not_painted_over(build: Build, fakes: FakeEngines) -> None:
    class Broken(ManualFence):
        def wait(self) -> None:
            raise ModelError("the stage before failed")

    broken: Fence = Broken()
    stage, params = build(engines=fakes)
    with pytest.raises(ModelError, match="before failed"):
        stage.process({"picture": picture(64, 48).retimed(ready=broken)}, params)
    assert not fakes.opened


def test_another_size_or_colour_gets_another_engine(build: Build, fakes: FakeEngines) -> None:
    stage, params = build(engines=fakes)
    full = Color(Matrix.BT601, Range.FULL)
    stage.prepare(854, 480, Color())
    for frame in (picture(854, 480), picture(64, 48), picture(64, 48).retimed(color=full)):
        stage.process({"picture": frame}, params)
        stage.process({"picture": frame}, params)
    assert fakes.opened == [
        ("starry", 856, 480, "bt709", False),
        ("starry", 64, 48, "bt709", False),
        ("starry", 64, 48, "bt601", True),
    ]
    stage.process({"picture": picture(854, 480)}, params)
    assert len(fakes.opened) == 3  # back to the first size: its engine was kept
    for width in (96, 128):
        stage.process({"picture": picture(width, 48)}, params)
    assert [engine.closed for engine in fakes.engines] == [True, False, False, False, False]
    stage.close()
    assert all(engine.closed for engine in fakes.engines)


def test_memory_comes_back_when_the_pictures_are_gone(build: Build, pool: HarshPool) -> None:
    stage, params = build()
    painted = [run(stage, params, pitched(86, 48, pool)) for _ in range(3)]
    assert pool.out == 3
    del painted
    assert pool.out == 0


def test_stages_one_after_the_other_need_no_copy(tmp_path: Path) -> None:
    pool = FramePool()
    engines = MeasuredEngines(Mode.LIVE, cache=tmp_path, cores=1, tune="never")
    context = StageContext(CPU, Mode.LIVE, pool, pool.meter, engines, catalog(tmp_path))
    stages = [Style(Style.Params(), context), Enhance(Enhance.Params(), context)]
    frame = given = picture(64, 48)
    for stage in stages:
        frame = stage.process({"picture": frame}, stage.Params())["picture"]
    assert frame.ready is not None
    frame.ready.wait()
    wanted = widened(widened(given.planes[0].array()))
    np.testing.assert_array_equal(frame.planes[0].array(), wanted)
    assert pool.meter.total == 0
    for stage in stages:
        stage.close()


def test_upscaling_doubles_the_size(build: Build, fakes: FakeEngines) -> None:
    stage, params = build(Upscale, fakes)
    assert stage.output_size(427, 241) == (854, 482)
    painted = stage.process({"picture": picture(427, 241)}, params)["picture"]
    assert (painted.width, painted.height) == (854, 482)
    _, outs = fakes.engines[0].given[0]
    assert outs["y_out"].shape == (488, 856)
    assert outs["u_out"].shape == (244, 428)


@pytest.mark.parametrize(
    ("size", "name"), [("auto", "starry"), ("small", "starry"), ("large", "starry-large")]
)
def test_a_style_has_two_sizes(build: Build, fakes: FakeEngines, size: str, name: str) -> None:
    stage, params = build(engines=fakes, size=size)
    stage.process({"picture": picture(64, 48)}, params)
    assert fakes.opened[0][0] == name


def test_a_model_that_is_missing_or_does_something_else_is_refused(build: Build) -> None:
    with pytest.raises(ConfigError, match=r"unknown model 'nothing' .*starry"):
        build(Style, model="nothing")
    with pytest.raises(ConfigError, match="unknown model 'restore-large'"):
        build(Style, model="restore", size="large")
    with pytest.raises(ConfigError, match="sr-x2 is a sr model, this stage takes style"):
        build(Style, model="sr-x2")
    with pytest.raises(ConfigError, match="no strength"):
        build(Model, model="sr-x2", strength=0.5)
    for stage in (Style, Enhance, Upscale, Model):
        build(stage, model="theirs")


def test_a_strength_outside_of_0_to_1_is_refused() -> None:
    for strength in (-0.1, 1.1):
        with pytest.raises(ValidationError):
            Style.Params(strength=strength)


def test_the_stages_are_found_by_their_names() -> None:
    found = [find_stage(name) for name in ("style", "enhance", "upscale", "model")]
    assert found == [Style, Enhance, Upscale, Model]


@pytest.mark.parametrize("layout", [Layout.NV12, Layout.P010])
def test_semi_planar_pictures_are_taken_apart_in_one_pass(pool: HarshPool, layout: Layout) -> None:
    given = picture(86, 50)
    y, u, v = (plane.array() for plane in given.planes)
    uv = np.stack([u, v], axis=2).reshape(u.shape[0], -1)
    deep = [(p.astype(np.uint16) << 8) for p in (y, uv)]
    planes = (y, uv) if layout is Layout.NV12 else deep
    frame = replace(
        given, layout=layout, planes=tuple(Plane.of(np.ascontiguousarray(p)) for p in planes)
    )
    meter = CopyMeter()
    taken = packed(frame, pool, meter, 4)
    assert (taken.layout, taken.width, taken.height) == (Layout.I420, 88, 52)
    for source, got in zip((y, u, v), taken.planes, strict=True):
        rows, columns = got.shape
        missing = ((0, rows - source.shape[0]), (0, columns - source.shape[1]))
        assert got.packed
        np.testing.assert_array_equal(got.array(), np.pad(source, missing, "edge"))
    assert meter.planes == {layout.value: 3}


def test_ten_bits_are_rounded_to_eight(pool: HarshPool) -> None:
    samples = np.array([[0, 2 << 6, 5 << 6, 1023 << 6]] * 4, np.uint16)
    chroma = np.full((2, 4), 512 << 6, np.uint16)
    like = picture(4, 4)
    frame = replace(like, layout=Layout.P010, planes=(Plane.of(samples), Plane.of(chroma)))
    taken = packed(frame, pool, CopyMeter(), 4)
    assert taken.planes[0].array()[0].tolist() == [0, 1, 1, 255]
    assert (taken.planes[1].array() == 128).all()


def test_upscaling_that_steps_aside_keeps_the_size(build: Build, fakes: FakeEngines) -> None:
    stage, params = build(Upscale, fakes)
    for size in ((64, 48), (17, 31)):
        frame = picture(*size)
        plain = stage.bypass({"picture": frame}, params)["picture"]
        assert (plain.width, plain.height) == stage.output_size(*size)
        small = plain.planes[0].array()[::2, ::2].astype(int)
        assert np.abs(small - frame.planes[0].array()).mean() < 8, "the same picture"
    assert not fakes.opened, "without its network"


def test_a_stage_that_keeps_the_size_steps_aside_with_the_picture_itself(
    build: Build, fakes: FakeEngines
) -> None:
    stage, params = build(Enhance, fakes)
    frame = picture(64, 48)
    assert stage.bypass({"picture": frame}, params)["picture"] is frame


def test_what_a_stage_lets_others_do_is_declared() -> None:
    fixed = {stage: Contract.of(stage).fixed for stage in (Style, Enhance, Upscale, Model)}
    assert fixed.pop(Style) == {"model", "size"}
    assert set(fixed.values()) == {frozenset({"model"})}
    assert [Contract.of(stage).skippable for stage in (Style, Enhance)] == [False, True]
