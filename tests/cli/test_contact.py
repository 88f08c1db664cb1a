from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from typer.testing import CliRunner

from streamgen.cli import app
from streamgen.cli.contact import PAPER, WIDTH_PX, moments, split
from streamgen.cli.lettering import ROWS, lettering
from streamgen.testing import synthetic_clip


def read(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def test_a_sheet_is_a_png_that_shows_both_videos(tmp_path: Path) -> None:
    before = synthetic_clip(tmp_path / "before.mp4", frames=20, audio=None)
    after = synthetic_clip(tmp_path / "after.mp4", width=160, height=120, frames=20, audio=None)
    sheet = tmp_path / "made" / "sheet.png"
    told = CliRunner().invoke(app, ["contact", str(before), str(after), "-o", str(sheet)])
    assert told.exit_code == 0, told.output
    picture = read(sheet)
    assert picture.shape[1] == WIDTH_PX
    assert tuple(picture[0, 0]) == PAPER
    assert picture.std() > 20
    assert [p.name for p in sheet.parent.iterdir()] == ["sheet.png"]


def test_an_upright_video_gets_only_pairs(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "clip.mp4", width=90, height=160, frames=10, audio=None)
    sheet = tmp_path / "sheet.png"
    told = CliRunner().invoke(app, ["contact", str(clip), str(clip), "-o", str(sheet)])
    assert told.exit_code == 0, told.output
    assert read(sheet).shape[1] == WIDTH_PX


def test_moments_lie_in_both_videos_at_the_same_time(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "clip.mp4", frames=25, audio=None)
    shown = moments(clip, clip, 5)
    assert [round(m.time_s, 2) for m in shown] == [0.1, 0.3, 0.5, 0.7, 0.9]
    for moment in shown:
        assert np.array_equal(moment.before, moment.after)
    assert not np.array_equal(shown[0].before, shown[1].before)


def test_a_split_picture_has_each_video_on_its_side() -> None:
    dark, light = np.zeros((90, 160, 3), np.uint8), np.full((90, 160, 3), 200, np.uint8)
    picture = split(before=dark, after=light)
    assert (picture[:, :60] == 200).all() and (picture[:, 100:] == 0).all()


def test_an_existing_sheet_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "clip.mp4", frames=10, audio=None)
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"mine")
    arguments = ["contact", str(clip), str(clip), "-o", str(sheet)]
    told = CliRunner().invoke(app, arguments)
    assert (told.exit_code, sheet.read_bytes()) == (1, b"mine")
    assert len(told.stderr.splitlines()) == 1
    assert CliRunner().invoke(app, [*arguments, "--overwrite"]).exit_code == 0
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "clip.mp4", frames=10, audio=None)
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    told = CliRunner().invoke(app, ["contact", str(clip), str(text), "-o", str(tmp_path / "s.png")])
    assert told.exit_code == 1
    assert len(told.stderr.splitlines()) == 1
    assert not (tmp_path / "s.png").exists()


def test_letters_have_their_height_and_differ() -> None:
    assert lettering("A", 2).shape == (2 * ROWS, 10)
    shapes = {lettering(letter, 1).tobytes() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"}
    assert len(shapes) >= 35  # O and 0 are one shape
    assert lettering("", 1).shape[0] == ROWS
