"""Train `restore`: undo H.264's blocks and ringing and a camera's noise.

    python train_restore.py --pictures FOLDER --clips FOLDER --cache FILE.npz --out FILE.pt

The pairs are made once and kept in `--cache`: every training view twice, as a frame of a short
moving clip, with noise of up to 3 code values in three of ten, coded at a rate factor of 26 to 41,
seven in ten with the preset ultrafast, which leaves out the codec's own deblocking. Crops keep to
the 8 px grid of the codec: so do whole pictures, and the network may learn where the edges are.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pictures
import torch
import torch.nn.functional as F
from degrade import Triple, coded
from student import CENTER, UNIT, Student, pack
from torch import Tensor


def _full(parts: Triple) -> npt.NDArray[np.uint8]:
    """Planes as [3, H, W] bytes with chroma repeated, the form `student.pack` reads."""
    wide = [np.repeat(np.repeat(p, 2, 0), 2, 1) for p in parts[1:]]
    return np.stack([parts[0], *wide])


def make_pairs(args: argparse.Namespace) -> None:
    """Write `args.cache`: `N.clean` and `N.coded`, bytes [3, H, W]."""
    rng = np.random.default_rng(args.seed)
    views = list(pictures.training(args.pictures))
    views += pictures.frames(args.clips / "cutBunny.mp4", every=24, limit=10)
    kept: dict[str, npt.NDArray[np.uint8]] = {}
    for number in range(2 * len(views)):
        rgb = views[number % len(views)][1]
        noise = float(rng.uniform(0, 3)) if rng.random() < 0.3 else 0.0
        rate = int(rng.integers(26, 42))
        preset = str(rng.choice(["veryfast", "ultrafast", "medium"], p=[0.25, 0.7, 0.05]))
        clean, dirty = coded(rgb, rate, seed=number, preset=preset, noise=noise)
        kept[f"{number}.clean"], kept[f"{number}.coded"] = _full(clean), _full(dirty)
    np.savez(args.cache, **kept)


def crops(cache: Path, size: int, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Packed clean and coded crops [N, 24, h, w]; mirrored and turned at random."""
    rng = np.random.default_rng(seed)
    with np.load(cache) as stored:
        pairs = [
            tuple(torch.from_numpy(stored[k.removesuffix("clean") + w]) for w in ("clean", "coded"))
            for k in stored.files
            if k.endswith(".clean")
        ]
    while True:
        found: list[list[Tensor]] = [[], []]
        for _ in range(batch):
            pair = pairs[int(rng.integers(len(pairs)))]
            top, left = (8 * int(rng.integers(0, (s - size) // 8 + 1)) for s in pair[0].shape[1:])
            turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
            for kept, part in zip(found, pair, strict=True):
                crop = torch.rot90(part[:, top : top + size, left : left + size], turns, (1, 2))
                kept.append(crop.flip(2) if mirrored else crop)
        yield pack(torch.stack(found[0])), pack(torch.stack(found[1]))


@torch.no_grad()
def linear_start(net: Student, stream: Iterator[tuple[Tensor, Tensor]], batches: int = 40) -> None:
    """Begin with the best linear filter (ridge regression over 3x3 cells of 24 channels).

    Coding faults are tiny differences on a large mean, a badly conditioned problem which gradient
    steps alone solve slowly. The first 24 channels carry the filter's answer, raised by `lift` so
    that it passes the positive part unharmed; `last` starts by handing it out again.
    """
    square, product = torch.zeros(216, 216), torch.zeros(216, 24)
    for _ in range(batches):
        clean, dirty = next(stream)
        wanted = (clean - dirty)[:, :, 1:-1, 1:-1]
        weight = 1 / (wanted[:, :16].square().mean((1, 2, 3)) + 0.5)
        patches = F.unfold(dirty - CENTER, 3)
        square += torch.einsum("n,nip,njp->ij", weight, patches, patches)
        product += torch.einsum("n,nip,njp->ij", weight, patches, wanted.flatten(2))
    ridge = square.diagonal().mean() * 1e-5
    filters = torch.linalg.solve(square + ridge * torch.eye(216), product)
    scale, lift = 0.25, 2.5
    net.first.weight[:24] = filters.T.reshape(24, 24, 3, 3) * UNIT * scale
    net.first.bias[:24] = lift
    for channel in range(24):
        net.last.weight[channel, channel, 1, 1] = 1 / (scale * UNIT)
    net.last.bias -= lift / (scale * UNIT)
    if net.wide:
        net.up.weight *= 0.1
        net.up.bias.zero_()


@torch.no_grad()
def blind_to_brightness(net: Student) -> None:
    """Take the mean out of every first filter: a flat picture of any colour has no faults."""
    for part in (slice(16), slice(16, 20), slice(20, 24)):
        taps = net.first.weight[:, part]
        taps -= taps.mean((1, 2, 3), keepdim=True)


def train(args: argparse.Namespace) -> None:
    """Run or resume `args.out`."""
    torch.manual_seed(args.seed)
    shape = (args.narrow, args.wide, args.blocks)
    net = Student(*shape).to(memory_format=torch.channels_last)
    average = Student(*shape)
    average.load_state_dict(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), lr=args.rate)
    stream = crops(args.cache, args.size, args.batch, args.seed)
    linear_start(net, stream)
    blind_to_brightness(net)
    average.load_state_dict(net.state_dict())
    start = 0
    if args.out.exists():
        kept = torch.load(args.out, weights_only=True)
        net.load_state_dict(kept["net"])
        average.load_state_dict(kept["average"])
        optimizer.load_state_dict(kept["optimizer"])
        start = kept["step"]
        stream = crops(args.cache, args.size, args.batch, args.seed + start)
    gains: list[float] = []
    for step in range(start, args.steps):
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 200)
            group["lr"] = args.rate * warm * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        clean, dirty = next(stream)
        dirty = dirty.contiguous(memory_format=torch.channels_last)
        error = dirty + net(dirty - CENTER) - clean
        ratios = [
            error[:, part].square().mean((1, 2, 3))
            / ((dirty - clean)[:, part].square().mean((1, 2, 3)) + 0.5)
            for part in (slice(16), slice(16, None))
        ]
        # Each crop's error beside what it was: decibels count, not the busiest pictures.
        loss = ratios[0].mean() + 0.3 * ratios[1].mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        blind_to_brightness(net)
        with torch.no_grad():
            decay = min(0.998, (step + 1) / (step + 10))
            for mean, value in zip(average.parameters(), net.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
            after = error[:, :16].square().mean((1, 2, 3))
            before = (dirty - clean)[:, :16].square().mean((1, 2, 3))
            gains.append(float(10 * ((before + 0.05) / (after + 0.05)).log10().mean()))
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            state = {"net": net.state_dict(), "average": average.state_dict(), "step": step + 1}
            state |= {"optimizer": optimizer.state_dict(), "shape": shape}
            torch.save(state, args.out.with_suffix(".part"))
            args.out.with_suffix(".part").replace(args.out)
            gain = sum(gains) / len(gains)
            gains.clear()
            print(
                f"step {step + 1} cpu {time.process_time():.0f} s gain {gain:+.3f} dB", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("pictures", "clips", "cache", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name, value in (("narrow", 32), ("wide", 48), ("blocks", 2), ("steps", 4000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value in (("size", 128), ("batch", 8), ("seed", 1), ("every", 500)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rate", type=float, default=3e-4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.cache.exists():
        make_pairs(args)
    train(args)


if __name__ == "__main__":
    main()
