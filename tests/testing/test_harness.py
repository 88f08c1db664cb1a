"""The harness takes good stages and says of bad ones what is wrong with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamgen.errors import ConfigError, StageError
from streamgen.media.frame import Frame, Sheet
from streamgen.media.port import Contract, Port
from streamgen.testing import HarshPool, Rig, flat, inputs_like, moving, noise, run_stage, sheet
from tests.testing import stages


def luma(value: Any) -> Any:
    return value.planes[0].array()


def test_frames_go_in_and_come_out() -> None:
    given = moving(3)
    made = run_stage(stages.Negative, given)
    assert [one["picture"].pts for one in made] == [0, 1, 2]
    np.testing.assert_array_equal(luma(made[1]["picture"]), 255 - luma(given[1]))


def test_parameters_are_checked_and_reach_the_stage() -> None:
    given = flat(16, 8, 100)
    [made] = run_stage(stages.Negative, [given], {"amount": 0.0})
    np.testing.assert_array_equal(luma(made["picture"]), luma(given))
    with pytest.raises(ConfigError, match="amount"):
        run_stage(stages.Negative, [given], {"amount": 2.0})


def test_an_installed_stage_is_found_by_its_name() -> None:
    [made] = run_stage("crop", [noise(32, 16)], {"width": 16, "height": 8})
    picture = made["picture"]
    assert isinstance(picture, Frame)
    assert (picture.width, picture.height) == (16, 8)


def test_a_late_stage_gives_as_many_outputs_as_frames() -> None:
    made = run_stage(stages.Late, moving(5))
    assert [one["picture"].pts for one in made] == [0, 1, 2, 3, 4]


def test_another_size_is_a_break() -> None:
    class Remembers(stages.Plain):
        state = "ordered"
        resets = 0

        def reset(self) -> None:
            Remembers.resets += 1

    run_stage(Remembers, [*moving(2, 32, 32), *moving(2, 64, 32)])
    assert Remembers.resets == 1


def test_rows_have_spare_bytes_and_nothing_is_kept() -> None:
    pool = HarshPool()
    made = run_stage(stages.Negative, moving(4, 31, 17), pool=pool)
    assert not any(one["picture"].planes[0].packed for one in made)  # type: ignore[union-attr]
    del made
    assert (pool.taken, pool.out) == (4, 0)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (stages.Refuses, "not today"),
        (stages.WrongName, "gives no 'picture', which it declares; gives 'image', which it does"),
        (stages.WrongSize, "gives 160x120, where output_size said 320x240, as 'picture'"),
        (stages.WrongTime, "gives the time 0, where its input has 1,"),
        (stages.Overruns, "bytes written behind its rows"),
        (stages.Scribbles, "writes into its input 'picture'"),
        (stages.NotANumber, "numbers that are not finite as 'mask', declared mask float32 0..1"),
        (stages.WrongDtype, "gives uint8 as 'mask'"),
        (stages.WrongShape, r"gives the shape \(1, 120, 160\)"),
        (stages.TooBright, "gives values"),
        (stages.Forgetful, "keeps 2 frames for ever"),
    ],
)
def test_what_is_not_as_declared_is_said(stage: type[Any], said: str) -> None:
    with pytest.raises(StageError, match=said):
        run_stage(stage, moving(3))


def test_what_the_stage_raises_comes_through() -> None:
    with pytest.raises(ValueError, match="no such thing"):
        run_stage(stages.Raises, moving(1))


def test_a_wrong_test_is_told_apart_from_a_wrong_stage() -> None:
    frame = moving(1)[0]
    with pytest.raises(ConfigError, match="needs 'picture'"):
        run_stage(stages.Plain, [{"image": frame}])
    with pytest.raises(ConfigError, match="has no input 'mask'"):
        run_stage(stages.Plain, [{"picture": frame, "mask": sheet(Port(kind="mask"), frame)}])
    with pytest.raises(ConfigError, match="takes picture, given a Sheet, not a Frame"):
        run_stage(stages.Plain, [{"picture": sheet(Port(kind="mask"), frame)}])


@pytest.mark.parametrize(
    "port",
    [
        Port(kind="mask"),
        Port(kind="mask", dtype="float32"),
        Port(kind="boxes"),
        Port(kind="rgb", dtype="float32", planar=True),
        Port(kind="rgb"),
        Port(kind="tensor", shape=(1, "n", 7)),
    ],
    ids=str,
)
def test_made_inputs_fit_their_ports(port: Port) -> None:
    class Takes(stages.Plain):
        inputs = {"picture": Port(), "more": port}  # noqa: RUF012
        outputs = {"more": port}  # noqa: RUF012

        def process(self, inputs: Any, params: Any) -> Any:
            return {"more": inputs["more"]}

    for frame in (noise(33, 17), noise(1, 1)):
        [made] = run_stage(Takes, [inputs_like(Contract.of(Takes), frame)])
        assert isinstance(made["more"], Sheet)


def test_a_rig_takes_other_parameters_for_a_frame() -> None:
    with Rig(stages.Negative) as rig:
        frame = flat(16, 8, 100)
        changed = rig.params.model_copy(update={"amount": 0.0})
        assert luma(rig.process(frame, changed)["picture"])[0, 0] == 100
        assert luma(rig.process(frame)["picture"])[0, 0] == 155
