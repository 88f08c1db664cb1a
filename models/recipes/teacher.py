"""The teacher: MicroAST (Zhizhong Wang and others, AAAI 2023, MIT licence) with frozen statistics.

Two of its layers normalise by the picture's own mean and deviation. Both pairs are replaced by
their average over calibration pictures, so the teacher becomes a plain function of its
surroundings, which a small network can learn and which cannot flicker with the scene. Its strides
give it a phase of 4 px: `stylize` averages over shifted copies ("cycle spinning") to remove it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

Array = npt.NDArray[np.float32]
Weights = dict[str, Tensor]
Statistics = tuple[Tensor, Tensor]
SHIFTS = ((0, 0), (2, 2), (1, 3), (3, 1))


def _conv(x: Tensor, weights: Weights, name: str, stride: int = 1) -> Tensor:
    weight, bias = weights[f"{name}.conv_layer.weight"], weights[f"{name}.conv_layer.bias"]
    pad = weight.shape[-1] // 2
    padded = F.pad(x, (pad,) * 4, mode="reflect") if pad else x
    return F.conv2d(padded, weight, bias, stride, groups=x.shape[1] // weight.shape[1])


def _residual(x: Tensor, weights: Weights, name: str) -> Tensor:
    return x + _conv(F.relu(_conv(x, weights, f"{name}.conv1")), weights, f"{name}.conv2")


def _modulated(x: Tensor, weights: Weights, name: str, scale: Tensor, shift: Tensor) -> Tensor:
    first = F.relu(scale * _conv(x, weights, f"{name}.conv1") + shift * x)
    return x + scale * _conv(first, weights, f"{name}.conv2") + shift * first


def _encode(x: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
    for index, stride in ((0, 1), (2, 2), (4, 1), (6, 2), (8, 1)):
        x = F.relu(_conv(x, weights, f"enc1.{index}", stride))
    near = _residual(x, weights, "enc1.10")
    return near, _residual(near, weights, "enc2.0")


def _statistics(x: Tensor) -> Statistics:
    return x.mean((2, 3), keepdim=True), (x.var((2, 3), keepdim=True) + 1e-5).sqrt()


class MicroAST:
    """One style baked in. The style picture is scaled so that its short side is `style_px`."""

    def __init__(self, weights: Path, style: Path, *, style_px: int = 512) -> None:
        names = ("content_encoder", "style_encoder", "decoder", "modulator")
        parts = [torch.load(weights / f"{n}.pth", weights_only=True) for n in names]
        self._content, style_encoder, self._decoder, modulator = parts
        self._frozen: list[Statistics] | None = None
        image = Image.open(style).convert("RGB")
        scale = style_px / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)))
        with torch.no_grad():
            features = _encode(_tensor(np.asarray(image, np.float32) / 255), style_encoder)
            self._style = [_statistics(f) for f in features]
            self._filters = [
                tuple(
                    _conv(feature, modulator, f"{kind}{level}.0").mean((2, 3), keepdim=True)
                    for kind in ("weight", "bias")
                )
                for level, feature in zip((1, 2), features, strict=True)
            ]

    def freeze(self, pictures: Iterable[Array]) -> None:
        """Fix both normalisations to their mean over `pictures` (RGB [H, W, 3] in 0..1).

        The second layer's statistics depend on the first's, so they are measured one by one.
        """
        batch = [_tensor(p) for p in pictures]
        self._frozen = None
        for level in (0, 1):
            seen: list[list[Statistics]] = [[] for _ in range(len(batch))]
            for index, picture in enumerate(batch):
                self._run(picture, seen[index])
            measured = [found[level] for found in seen]
            mean = torch.stack([m for m, _ in measured]).mean(0)
            std = torch.stack([s for _, s in measured]).mean(0)
            self._frozen = [*(self._frozen or []), (mean, std)]

    @torch.no_grad()
    def _run(self, picture: Tensor, seen: list[Statistics] | None = None) -> Tensor:
        _, deep = _encode(picture, self._content)
        x = deep
        for level, block in ((1, "dec1"), (0, "dec2")):
            order = 1 - level
            live = _statistics(x)
            if seen is not None:
                seen.append(live)
            fixed = self._frozen is not None and order < len(self._frozen)
            mean, std = self._frozen[order] if fixed and self._frozen else live
            style_mean, style_std = self._style[level]
            x = (x - mean) / std * style_std + style_mean
            x = _modulated(x, self._decoder, block, *self._filters[level])
        for first, second in ((1, 3), (6, 8)):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = F.relu(_conv(x, self._decoder, f"dec3.{first}"))
            x = F.relu(_conv(x, self._decoder, f"dec3.{second}"))
        return _conv(x, self._decoder, "dec3.10")

    def stylize(self, picture: Array, shifts: Iterable[tuple[int, int]] = SHIFTS) -> Array:
        """The picture in the style, RGB [H, W, 3] clipped to 0..1, averaged over pixel shifts."""
        height, width = picture.shape[:2]
        pad = 32
        bottom = pad + math.ceil(height / 8) * 8 - height
        right = pad + math.ceil(width / 8) * 8 - width
        padded = np.pad(picture, ((pad, bottom), (pad, right), (0, 0)), mode="reflect")
        total = np.zeros_like(picture)
        count = 0
        for down, along in shifts:
            moved = padded[down : down - 8 or None, along : along - 8 or None]
            out = self._run(_tensor(moved))[0].permute(1, 2, 0).numpy()
            total += out[pad - down :][:height, pad - along :][:, :width]
            count += 1
        return np.clip(total / count, 0, 1)


def _tensor(picture: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
