"""Train the luma enlarger `sr-x2` on photographs halved in size.

    python train_sr.py --pictures FOLDER --clips FOLDER --out FILE.pt --steps 20000

Seven in ten crops are halved with Pillow's bicubic filter, the rest with a box or Lanczos, so that
the network does not lean on one filter. The loss is L1, later squared (steps after 60 %), since
PSNR is what the card reports.
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
import planes
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

Bytes = npt.NDArray[np.uint8]
UNIT = 64.0
FILTERS = (Image.Resampling.BICUBIC,) * 7 + (
    Image.Resampling.BOX,
    Image.Resampling.BOX,
    Image.Resampling.LANCZOS,
)
PHASES = [2 * (i // 2) + j // 2 for i in range(4) for j in range(4)]


class Enlarger(nn.Module):
    """Luma at half its size (4 phases) to the 16 phases of twice the size; see networks.enlarge."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in "ab")
            for _ in range(blocks)
        )
        self.last = nn.Conv2d(channels, 16, 3, padding=1)
        for a, b in self.blocks:
            nn.init.kaiming_normal_(a.weight)
            nn.init.kaiming_normal_(b.weight)
            b.weight.data *= 0.3
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, luma: Tensor) -> Tensor:
        """Luma [N, 1, H, W] in code values to [N, 1, 2H, 2W]."""
        packed = F.pixel_unshuffle(luma, 2)
        t = F.relu(self.first((packed - 126) / UNIT))
        for a, b in self.blocks:
            t = F.relu(t + b(F.relu(a(t))))
        return F.pixel_shuffle(packed[:, PHASES] + self.last(t) * UNIT, 4)

    def export(self) -> dict[str, npt.NDArray[np.float32]]:
        """The weights in the names and units of `streamgen_models.networks`."""
        weights = {}
        for name, value in self.state_dict().items():
            parts = name.split(".")
            if parts[0] == "blocks":
                name = f"block{parts[1]}.{'ab'[int(parts[2])]}.{parts[3]}"
            weights[name] = value.numpy().copy()
        weights["first.weight"] /= UNIT
        weights["last.weight"] *= UNIT
        weights["last.bias"] *= UNIT
        return weights


def luma_of(rgb: npt.NDArray[np.float32]) -> Bytes:
    """Studio-range luma bytes of an RGB picture."""
    return planes.as_bytes(planes.from_rgb(rgb)[0])


def halved(luma: Bytes, how: Image.Resampling = Image.Resampling.BICUBIC) -> Bytes:
    """Half the size; sides must be even."""
    image = Image.fromarray(luma)
    return np.asarray(image.resize((image.width // 2, image.height // 2), how))


def sources(args: argparse.Namespace) -> list[Bytes]:
    """Luma of the training views at two scales, and of some frames of cutBunny.mp4."""
    views = list(pictures.training(args.pictures, seed=1))
    views += list(pictures.training(args.pictures, seed=2))
    views += pictures.frames(args.clips / "cutBunny.mp4", every=24, limit=10)
    lumas = [luma_of(rgb) for _, rgb in views]
    return [plane[: plane.shape[0] // 8 * 8, : plane.shape[1] // 8 * 8] for plane in lumas]


def crops(lumas: list[Bytes], size: int, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of small and large luma [N, 1, ...]; turned and mirrored at random."""
    rng = np.random.default_rng(seed)
    ways = list(dict.fromkeys(FILTERS))
    small = {way: [halved(plane, way) for plane in lumas] for way in ways}
    while True:
        pairs: list[tuple[Bytes, Bytes]] = []
        for _ in range(batch):
            index = int(rng.integers(len(lumas)))
            low = small[FILTERS[int(rng.integers(10))]][index]
            top, left = (int(rng.integers(0, side - size + 1)) for side in low.shape)
            a = low[top : top + size, left : left + size]
            b = lumas[index][2 * top : 2 * (top + size), 2 * left : 2 * (left + size)]
            turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
            a, b = (np.rot90(p, turns) for p in (a, b))
            pairs.append((a[:, ::-1], b[:, ::-1]) if mirrored else (a, b))
        yield tuple(  # type: ignore[misc]
            torch.from_numpy(np.stack([p[i] for p in pairs])).float()[:, None] for i in (0, 1)
        )


def train(args: argparse.Namespace) -> None:
    """Run or resume `args.out`."""
    torch.manual_seed(args.seed)
    net, average = (Enlarger(args.channels, args.blocks) for _ in "ab")
    average.load_state_dict(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), lr=args.rate)
    start = 0
    if args.out.exists():
        kept = torch.load(args.out, weights_only=True)
        net.load_state_dict(kept["net"])
        average.load_state_dict(kept["average"])
        optimizer.load_state_dict(kept["optimizer"])
        start = kept["step"]
    stream = crops(sources(args), args.size, args.batch, args.seed + start)
    for step in range(start, args.steps):
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 200)
            group["lr"] = args.rate * warm * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        small, large = next(stream)
        error = (net(small) - large) / UNIT
        loss = error.abs().mean() if step < 0.6 * args.steps else 8 * error.square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        decay = min(0.999, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), net.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            state = {"net": net.state_dict(), "average": average.state_dict(), "step": step + 1}
            state |= {"optimizer": optimizer.state_dict(), "shape": (args.channels, args.blocks)}
            torch.save(state, args.out.with_suffix(".part"))
            args.out.with_suffix(".part").replace(args.out)
            print(
                f"step {step + 1} cpu {time.process_time():.0f} s loss {float(loss):.4f} "
                f"gain {gain_db(average, args.pictures):+.3f} dB",
                flush=True,
            )


@torch.no_grad()
def gain_db(net: Enlarger, folder: Path) -> float:
    """Mean luma PSNR over that of bicubic interpolation, on the held-out pictures."""
    gains: list[float] = []
    for _, rgb in pictures.held_out(folder):
        luma = luma_of(rgb)
        small = halved(luma)
        size = (luma.shape[1], luma.shape[0])
        plain = np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))
        ours = net(torch.from_numpy(small.copy()).float()[None, None])[0, 0].round().clamp(0, 255)
        errors = [np.square(p.astype(float) - luma).mean() for p in (plain, ours.numpy())]
        gains.append(10 * math.log10(errors[0] / errors[1]))
    return sum(gains) / len(gains)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("pictures", "clips", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name, value in (("channels", 24), ("blocks", 2), ("steps", 20000), ("batch", 12)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value in (("size", 48), ("seed", 1), ("every", 1000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rate", type=float, default=2e-3)
    torch.set_num_threads(1)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
