"""Paint the training and held-out pictures with the teacher once, and keep the result.

    python targets.py STYLE --pictures FOLDER --clips FOLDER --microast FOLDER --out FOLDER

The target is `mix` of the cycle-spun teacher and the rest of the content, so that strokes stay
rich while edges keep their place; `fade` of its colour is taken away and `paper` of it is bare
paper, for a style that is a drawing. `--part 0/2` and `--part 1/2` share the work of two processes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pictures
import torch
from scipy.ndimage import uniform_filter
from teacher import MicroAST

Array = npt.NDArray[np.float32]
CALIBRATION_VIEWS = 24
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
PAPER = np.array([0.97, 0.95, 0.90], np.float32)


def without_grid(picture: Array) -> Array:
    """The picture less what is left of the teacher's 4 px pattern.

    Four shifts do not average out every one of the pattern's directions. The rest is the local
    mean (36 px) of each of the 16 phases less that of all phases; sides are multiples of 4.
    """
    height, width = picture.shape[:2]
    cells = picture.reshape(height // 4, 4, width // 4, 4, 3)
    local = uniform_filter(cells, (9, 1, 9, 1, 1), mode="nearest")
    pattern = local - local.mean((1, 3), keepdims=True)
    clean: Array = np.clip((cells - pattern).reshape(picture.shape), 0, 1)
    return clean


def toned(picture: Array, fade: float, paper: float) -> Array:
    """The picture with a part of its colour taken away and a part of the paper showing through."""
    grey = picture @ LUMA
    faded = picture + fade * (grey[..., None] - picture)
    drawn: Array = faded + paper * (PAPER - faded)
    return drawn


def _byte(picture: Array) -> npt.NDArray[np.uint8]:
    return np.round(picture * 255).astype(np.uint8)


def _training(args: argparse.Namespace) -> list[tuple[str, Array]]:
    views = list(pictures.training(args.pictures))
    views += pictures.frames(args.clips / "cutBunny.mp4", every=24, limit=10)
    pedestrians = args.pictures / pictures.EXAMPLES / "data/vtest.avi"
    return views + list(pictures.frames(pedestrians, every=250, limit=3))


def paint(args: argparse.Namespace) -> None:
    """Write `train.PART.npz` and, in the first part, `held.npz`."""
    part, parts = (int(n) for n in args.part.split("/"))
    views = _training(args)
    teacher = MicroAST(args.microast, args.style, style_px=args.style_px)
    step = max(1, len(views) // CALIBRATION_VIEWS)
    teacher.freeze([v[:320, :448] for _, v in views[::step]])
    args.out.mkdir(parents=True, exist_ok=True)
    if part == 0:
        held: dict[str, Array] = {}
        for name, picture in pictures.held_out(args.pictures):
            held[f"{name}.content"] = _byte(picture)
            held[f"{name}.raw"] = _byte(teacher.stylize(picture, [(0, 0)]))
            spun = without_grid(teacher.stylize(picture))
            target = args.mix * spun + (1 - args.mix) * picture
            held[f"{name}.target"] = _byte(toned(target, args.fade, args.paper))
        np.savez(args.out / "held.npz", **held)
    kept: dict[str, Array] = {}
    for number, (_, picture) in enumerate(views):
        if number % parts == part:
            painted = without_grid(teacher.stylize(picture))
            target = args.mix * painted + (1 - args.mix) * picture
            kept[f"{number}.content"] = _byte(picture)
            kept[f"{number}.target"] = _byte(toned(target, args.fade, args.paper))
    np.savez(args.out / f"train.{part}.npz", **kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("style", type=Path, help="the style picture")
    for name in ("pictures", "clips", "microast", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--style-px", type=int, default=512)
    parser.add_argument("--mix", type=float, default=0.85)
    for name in ("fade", "paper"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--part", default="0/1")
    torch.set_num_threads(1)
    paint(parser.parse_args())


if __name__ == "__main__":
    main()
