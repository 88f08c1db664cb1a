"""`streamgen contact`: a before/after sheet of two videos, as one PNG.

One large picture, painted from the left and untouched on the right of a slanted line; below it,
pairs from the whole length of the video.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import typer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from streamgen.cli.lettering import ROWS, lettering
from streamgen.errors import ConfigError, OutputError, SourceError
from streamgen.media.orientation import UPRIGHT, Orientation, orientation_of

app = typer.Typer(add_completion=False, rich_markup_mode=None)
Picture = NDArray[np.uint8]
"""H x W x 3, RGB."""

WIDTH_PX = 1920
MARGIN_PX = 36
GAP_PX = 8
LABEL_PX = 44
DOT_PX = 2
INK = (150, 156, 168)
PAPER = (17, 18, 21)
LINE = (245, 245, 245)
SLANT = 0.16
"""Horizontal run of the dividing line per pixel of height."""


@app.command()
def contact(
    before: Path = typer.Argument(..., help="The original."),
    after: Path = typer.Argument(..., help="What was made of it: a file or an index.m3u8."),
    output: Path = typer.Option(..., "-o", "--output", help="The PNG to write."),
    pairs: int = typer.Option(4, min=2, max=8, help="How many moments to show."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing file."),
) -> None:
    """Draw a before/after contact sheet of two videos."""
    if output.suffix.lower() != ".png":
        raise ConfigError(f"a contact sheet is a .png file, got {output.name!r}")
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists; --overwrite replaces it")
    sheet = draw(moments(before, after, pairs + 1), title=after.stem)
    write_png(sheet, output)
    typer.echo(f"wrote {output} ({sheet.shape[1]}x{sheet.shape[0]})")


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """The same instant of both videos, the same size, upright."""

    time_s: float
    before: Picture
    after: Picture


def moments(before: Path, after: Path, count: int) -> list[Moment]:
    """`count` instants spread evenly over the video. Raises `SourceError`."""
    length_s = min(_length_s(before), _length_s(after))
    times = [length_s * (2 * i + 1) / (2 * count) for i in range(count)]
    width, height = _shown_size(before)
    scale = min(1.0, (WIDTH_PX - 2 * MARGIN_PX) / width)
    size = (max(round(width * scale / 2) * 2, 2), max(round(height * scale / 2) * 2, 2))
    firsts = _pictures(before, times, size)
    seconds = _pictures(after, times, size)
    return [Moment(*parts) for parts in zip(times, firsts, seconds, strict=True)]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    try:
        with av.open(f"file:{path.resolve()}") as container:
            if not container.streams.video:
                raise SourceError(f"{path} has no pictures")
            yield container
    except av.error.FFmpegError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error


def _length_s(path: Path) -> float:
    with _opened(path) as container:
        stream = container.streams.video[0]
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        return (container.duration or av.time_base) / av.time_base


def _shown_size(path: Path) -> tuple[int, int]:
    """Width and height as displayed: pixel aspect and rotation applied."""
    with _opened(path) as container:
        frame = next(container.decode(video=0), None)
        if frame is None:
            raise SourceError(f"{path} has no pictures")
        sar = container.streams.video[0].codec_context.sample_aspect_ratio or Fraction(1)
        width, height = round(frame.width * sar), frame.height
        return (height, width) if frame.rotation % 180 else (width, height)


def _pictures(path: Path, times_s: Sequence[float], size: tuple[int, int]) -> list[Picture]:
    """The picture shown at each time; the last one where the video ends earlier."""
    pictures: list[Picture] = []
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        start_s = float((stream.start_time or 0) * (stream.time_base or 0))
        last: VideoFrame | None = None
        turn = UPRIGHT
        for frame in container.decode(stream):
            while len(pictures) < len(times_s) and (
                last is not None and frame.time - start_s > times_s[len(pictures)]
            ):
                pictures.append(upright(last, size, turn))
            last, turn = frame, orientation_of(frame, turn)
            if len(pictures) == len(times_s):
                break
        if last is None:
            raise SourceError(f"{path} has no pictures")
        while len(pictures) < len(times_s):
            pictures.append(upright(last, size, turn))
    return pictures


def upright(frame: VideoFrame, size: tuple[int, int], turn: Orientation) -> Picture:
    """In RGB, turned and scaled as it is shown; `size` is width and height then."""
    quarters = turn.rotation // 90
    width, height = size if quarters % 2 == 0 else size[::-1]
    # Unmarked video: swscale would take BT.601 for every size.
    unmarked = "itu709" if frame.height >= 720 else "itu601"
    matrix = {1: "itu709", 5: "itu601", 6: "smpte170m"}.get(int(frame.colorspace), unmarked)
    rgb = frame.reformat(
        width, height, "rgb24", src_colorspace=matrix, interpolation="LANCZOS"
    ).to_ndarray()
    rgb = rgb[:, ::-1] if turn.mirrored else rgb
    return np.ascontiguousarray(np.rot90(rgb, quarters))


def draw(shown: Sequence[Moment], title: str) -> Picture:
    """Lay the sheet out. Wide videos get a large split picture; upright ones only pairs."""
    height, width, _ = shown[0].before.shape
    wide = width >= height
    pairs = [m for i, m in enumerate(shown) if i != len(shown) // 2] if wide else list(shown)
    inner = WIDTH_PX - 2 * MARGIN_PX
    small_w = (inner - GAP_PX * (len(pairs) - 1)) // len(pairs)
    small_h = round(small_w * height / width)
    hero_h = round(inner * height / width) if wide else 0
    rows_top = MARGIN_PX + (hero_h + GAP_PX if wide else 0)
    total = rows_top + 2 * small_h + GAP_PX + LABEL_PX + MARGIN_PX // 2
    sheet = np.full((total, WIDTH_PX, 3), PAPER, np.uint8)
    if wide:
        hero = shown[len(shown) // 2]
        _paste(sheet, split(_fit(hero.before, inner, hero_h), _fit(hero.after, inner, hero_h)),
               MARGIN_PX, MARGIN_PX)  # fmt: skip
    for column, moment in enumerate(pairs):
        left = MARGIN_PX + column * (small_w + GAP_PX)
        _paste(sheet, _fit(moment.before, small_w, small_h), left, rows_top)
        _paste(sheet, _fit(moment.after, small_w, small_h), left, rows_top + small_h + GAP_PX)
        baseline = rows_top + 2 * small_h + GAP_PX + (LABEL_PX - ROWS * DOT_PX) // 2
        name = f"{title}  {_clock(moment.time_s)}" if column == 0 else _clock(moment.time_s)
        _write(sheet, name, left, baseline)
    return sheet


def split(before: Picture, after: Picture) -> Picture:
    """`after` left of a slanted line, `before` right of it."""
    height, width, _ = before.shape
    rows, columns = np.ogrid[:height, :width]
    # Distance to the line, positive on the left.
    left_of = width / 2 + (height / 2 - rows) * SLANT - columns
    picture = np.where(left_of[..., None] > 0, after, before)
    # The line itself, two pixels wide, faded over one pixel on both sides against stairs.
    near = np.abs(left_of) < 2.5
    ink = np.clip(2.5 - np.abs(left_of[near]), 0.0, 1.0)[:, None]
    picture[near] = picture[near] * (1.0 - ink) + np.array(LINE) * ink + 0.5
    return picture


def _fit(picture: Picture, width: int, height: int) -> Picture:
    """Scaled to this size (swscale, Lanczos)."""
    frame = VideoFrame.from_ndarray(picture, format="rgb24")
    return np.asarray(frame.reformat(width, height, interpolation="LANCZOS").to_ndarray(), np.uint8)


def _paste(sheet: Picture, picture: Picture, left: int, top: int) -> None:
    sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture


def _write(sheet: Picture, text: str, left: int, top: int) -> None:
    mask = lettering(text, DOT_PX)[:, : max(sheet.shape[1] - left, 0)]
    sheet[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = INK


def _clock(time_s: float) -> str:
    return f"{int(time_s) // 60}:{time_s % 60:04.1f}"


def write_png(picture: Picture, path: Path) -> None:
    """Write an RGB picture, whole or not at all. Raises `OutputError`."""
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.video.codeccontext.VideoCodecContext)
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt = "rgb24"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"compression_level": "3", "pred": "mixed"}  # a third of the time, +5 % bytes
    frame = VideoFrame.from_ndarray(picture, format="rgb24")
    data = b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)])
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
