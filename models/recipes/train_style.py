"""Distil one style into one student; see README.md for the command of each shipped style.

    python train_style.py --targets FOLDER --out FILE.pt --wide 24 --blocks 1 --steps 8000

Every step sees each crop twice, `shift` pixels apart and with noise. Both must match the teacher,
and where they overlap they must match each other: an exact temporal loss without optical flow.
The budget is in steps, so a run gives the same weights whether or not the machine was busy.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from narrow import narrowed
from student import CENTER, Student, pack, rgb_mse, stored_planes, unpack
from torch import Tensor
from widen import widened

Pair = tuple[Tensor, Tensor]
MAX_SHIFT_PX = 8


def load(folder: Path) -> list[Pair]:
    """Content and target pictures as plane bytes [3, H, W]."""
    pairs: list[Pair] = []
    for path in sorted(folder.glob("train.*.npz")):
        with np.load(path) as stored:
            for key in stored.files:
                if key.endswith(".content"):
                    both = (stored[key], stored[key.removesuffix("content") + "target"])
                    content, target = (torch.from_numpy(p).permute(2, 0, 1) for p in both)
                    pairs.append((stored_planes(content), stored_planes(target)))
    return pairs


class Crops:
    """Seeded batches: packed content and target [2*N, 24, h, w], the second half shifted."""

    def __init__(self, pairs: list[Pair], size: int, batch: int, seed: int) -> None:
        self._pairs, self._size, self._batch = pairs, size, batch
        self._rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, tuple[int, int]]]:
        while True:
            shift = self._rng.integers(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1, 2)
            if self._rng.random() < 0.5:
                shift = shift // 2 * 2  # even: chroma can be compared too
            crops: list[list[Tensor]] = [[], [], [], []]
            for _ in range(self._batch):
                pair = self._pairs[int(self._rng.integers(len(self._pairs)))]
                for found, crop in zip(crops, self._crop(pair, shift), strict=True):
                    found.append(crop)
            content = pack(torch.stack(crops[0] + crops[2]))
            target = pack(torch.stack(crops[1] + crops[3]))
            yield content, target, (int(shift[0]), int(shift[1]))

    def _crop(self, pair: Pair, shift: np.ndarray) -> list[Tensor]:
        height, width = pair[0].shape[1:]
        size = self._size
        low = np.maximum(0, -shift)
        high = np.array([height, width]) - size - np.maximum(0, shift)
        top, left = (int(self._rng.integers(a, b + 1)) for a, b in zip(low, high, strict=True))
        down, along = top + int(shift[0]), left + int(shift[1])
        places = ((top, left), (down, along))
        return [p[:, t : t + size, s : s + size] for t, s in places for p in pair]


def _overlap(picture: Tensor, shift: tuple[int, int], second: bool) -> Tensor:
    """The part of the first or second view that both show."""
    height, width = picture.shape[2:]
    (down, along) = shift if not second else (-shift[0], -shift[1])
    return picture[
        :, :, max(0, down) : height + min(0, down), max(0, along) : width + min(0, along)
    ]


def temporal_loss(packed: Tensor, shift: tuple[int, int]) -> Tensor:
    """How far the two views differ where they overlap, as a squared part of full scale."""
    luma, chroma = unpack(packed)
    half = luma.shape[0] // 2
    difference = _overlap(luma[:half], shift, False) - _overlap(luma[half:], shift, True)
    loss = (difference / 219).square().mean()
    if shift[0] % 2 == 0 and shift[1] % 2 == 0:
        halved = (shift[0] // 2, shift[1] // 2)
        difference = _overlap(chroma[:half], halved, False) - _overlap(chroma[half:], halved, True)
        loss = loss + (difference / 112).square().mean()
    return loss


def distill_loss(packed: Tensor, target: Tensor, args: argparse.Namespace) -> Tensor:
    """Squared error in RGB, plus three terms.

    `gradient` weighs the error of luma differences, which keeps edges crisp; `texture` that of
    their local strength (RMS over 16 px), since squared error alone would rather paint no stroke
    than one a little out of place; `grid` the local mean error of each phase of 8x8 blocks beside
    that of all phases, which is a pattern of 4 or 8 px and nothing else.
    """
    error = packed - target
    painted, wanted = (F.pixel_shuffle(p[:, :16], 4) / 219 for p in (packed, target))
    edges, strength = error.new_zeros(()), error.new_zeros(())
    for axis in (2, 3):
        ours, theirs = painted.diff(dim=axis), wanted.diff(dim=axis)
        edges = edges + (ours - theirs).abs().mean()
        rms = [(F.avg_pool2d(d.square(), 16, 8) + 1e-4).sqrt() for d in (ours, theirs)]
        strength = strength + (rms[0] - rms[1]).abs().mean()
    local = F.avg_pool2d(F.pixel_unshuffle(error, 2), 4, 2) / 219
    phases = [part - part.mean(1, keepdim=True) for part in local.split((64, 16, 16), 1)]
    grid = torch.cat(phases, 1).square().mean()
    detail = args.gradient * edges + args.texture * strength
    return rgb_mse(error) + detail + args.grid * grid


def disturbed(content: Tensor, random: torch.Generator, noise: float) -> Tensor:
    """The second half with camera noise of up to `noise` code values, coarse as well as fine."""
    half, _, height, width = content[::2].shape
    level = torch.rand(half, 1, 1, 1, generator=random) * noise
    fine = torch.randn(half, 24, height, width, generator=random)
    coarse = torch.randn(half, 3, height, width, generator=random)
    spread = [coarse[:, :1].expand(-1, 16, -1, -1)]
    spread += [coarse[:, i : i + 1].expand(-1, 4, -1, -1) for i in (1, 2)]
    grain = level * (fine + 0.7 * torch.cat(spread, 1))
    return torch.cat([content[:half], (content[half:] + grain).clamp(0, 255)])


@torch.no_grad()
def held_out_psnr_db(net: Student, folder: Path, names: int = 4) -> float:
    """Mean RGB-PSNR to the target over the first held-out pictures, a running check only."""
    found: list[float] = []
    with np.load(folder / "held.npz") as stored:
        for key in [k for k in stored.files if k.endswith(".content")][:names]:
            both = (stored[key], stored[key.removesuffix("content") + "target"])
            x, wanted = (
                pack(stored_planes(torch.from_numpy(p).permute(2, 0, 1))[None]) for p in both
            )
            error = (x + net(x - CENTER)).clamp(0, 255) - wanted
            found.append(-10 * math.log10(float(rgb_mse(error))))
    return sum(found) / len(found)


def begun(args: argparse.Namespace, shape: tuple[int, int, int]) -> Student:
    """A new student, or `args.init` brought to the shape."""
    if not args.init:
        return Student(*shape)
    kept = torch.load(args.init, weights_only=True)
    given = Student(*kept["shape"])
    given.load_state_dict(kept["average"])
    if kept["shape"] == shape:
        return given
    if all(wanted >= had for wanted, had in zip(shape, kept["shape"], strict=True)):
        return widened(given, *shape)
    some = islice(Crops(load(args.targets), args.size, args.batch, args.seed), 8)
    return narrowed(given, *shape, torch.cat([content for content, _, _ in some]))


def train(args: argparse.Namespace) -> None:
    """Run or resume `args.out`; a checkpoint holds everything needed to go on."""
    torch.manual_seed(args.seed)
    random = torch.Generator().manual_seed(args.seed)
    shape = (args.narrow, args.wide, args.blocks)
    net = begun(args, shape).to(memory_format=torch.channels_last)
    average = Student(*shape)
    average.load_state_dict(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), lr=args.rate)
    start = 0
    if args.out.exists():
        kept = torch.load(args.out, weights_only=True)
        net.load_state_dict(kept["net"])
        average.load_state_dict(kept["average"])
        optimizer.load_state_dict(kept["optimizer"])
        start = kept["step"]
    crops = iter(Crops(load(args.targets), args.size, args.batch, args.seed + start))
    for step in range(start, args.steps):
        warm = min(1.0, (step + 1) / 200)
        for group in optimizer.param_groups:
            group["lr"] = args.rate * warm * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        content, target, shift = next(crops)
        x = disturbed(content, random, args.noise).contiguous(memory_format=torch.channels_last)
        out = x + net(x - CENTER)
        distilled = distill_loss(out, target, args)
        steady = temporal_loss(out, shift)
        loss = distilled + args.temporal * steady
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn_norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        decay = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), net.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            state = {"net": net.state_dict(), "average": average.state_dict()}
            state |= {"optimizer": optimizer.state_dict(), "step": step + 1}
            state |= {"shape": shape}
            torch.save(state, args.out.with_suffix(".part"))
            args.out.with_suffix(".part").replace(args.out)
            print(
                f"step {step + 1} cpu {time.process_time():.0f} s distill {float(distilled):.4f} "
                f"temporal {float(steady) ** 0.5:.4f} norm {float(nn_norm):.3f} "
                f"held-out {held_out_psnr_db(average, args.targets):.2f} dB",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path)
    for name, value in (
        ("narrow", 16),
        ("wide", 24),
        ("blocks", 1),
        ("steps", 20000),
        ("batch", 4),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value in (("size", 144), ("seed", 1), ("every", 500)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, weight in (
        ("rate", 1.5e-3),
        ("temporal", 0.5),
        ("gradient", 0.02),
        ("texture", 0.05),
        ("grid", 100.0),
        ("noise", 1.0),
    ):
        parser.add_argument(f"--{name}", type=float, default=weight)
    torch.set_num_threads(1)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
