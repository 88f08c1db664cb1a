"""The network that is trained: 24 channels at a quarter of the size in, a residual of 24 out.

The same graph is rebuilt without torch by `streamgen_models.networks`; `export` hands the weights
over in its names and in 8-bit code values.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import planes
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Inside, a unit is 64 code values: activations then stay near 1.
UNIT = 64.0
CENTER = torch.tensor([126.0] * 16 + [128.0] * 8).reshape(1, 24, 1, 1)
_FROM_RGB = torch.from_numpy(planes.FROM_RGB).float()
_TO_RGB = torch.from_numpy(planes.TO_RGB).float()


class Student(nn.Module):
    """Two scales: `narrow` channels at a quarter of the size, `wide` ones at an eighth.

    `first` reads the packed picture, `down` halves it, `blocks` residual pairs of 3x3 convolutions
    paint there, `up` brings the result back beside the finer features, `last` gives the residual.
    With `wide` 0 the blocks run at a quarter of the size and there is no `down` or `up`.
    """

    def __init__(self, narrow: int, wide: int, blocks: int) -> None:
        super().__init__()
        self.wide = wide
        inner = wide or narrow
        self.first = nn.Conv2d(24, narrow, 3, padding=1)
        if wide:
            self.down = nn.Conv2d(narrow, wide, 3, stride=2, padding=1)
            self.up = nn.Conv2d(wide, 4 * narrow, 1)
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(inner, inner, 3, padding=1) for _ in "ab")
            for _ in range(blocks)
        )
        self.last = nn.Conv2d(narrow, 24, 3, padding=1)
        for a, b in self.blocks:
            nn.init.kaiming_normal_(a.weight)
            nn.init.kaiming_normal_(b.weight)
            b.weight.data *= 0.3
        # A residual of zero: training starts from the picture itself and no 4 px grid is born.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Centred packed picture [N, 24, h, w] in code values to the residual in code values."""
        fine = F.relu(self.first(x / UNIT))
        t = F.relu(self.down(fine)) if self.wide else fine
        for a, b in self.blocks:
            t = F.relu(t + b(F.relu(a(t))))
        if self.wide:
            height, width = fine.shape[2:]
            t = F.relu(fine + F.pixel_shuffle(self.up(t), 2)[:, :, :height, :width])
        out: Tensor = self.last(t) * UNIT
        return out

    def export(self) -> dict[str, npt.NDArray[np.float32]]:
        """The weights in the names and units of `streamgen_models.networks`."""
        state = {k: v.detach().numpy().copy() for k, v in self.state_dict().items()}
        weights = {}
        for name, value in state.items():
            parts = name.split(".")
            if parts[0] == "blocks":
                name = f"block{parts[1]}.{'ab'[int(parts[2])]}.{parts[3]}"
            weights[name] = value
        if self.wide:
            # torch spreads channels as (channel, row, column), the graph as (row, column, channel).
            order = np.arange(4 * self.first.out_channels).reshape(-1, 4).T.ravel()
            weights["up.weight"] = weights["up.weight"][order]
            weights["up.bias"] = weights["up.bias"][order]
        weights["first.weight"] /= UNIT
        weights["last.weight"] *= UNIT
        weights["last.bias"] *= UNIT
        return weights


def pack(full: Tensor) -> Tensor:
    """Planes [N, 3, H, W] of `stored_planes` to packed ones [N, 24, H/4, W/4]."""
    luma = F.pixel_unshuffle(full[:, :1], 4)
    return torch.cat([luma, F.pixel_unshuffle(full[:, 1:, ::2, ::2], 2)], 1).float()


def stored_planes(rgb: Tensor) -> Tensor:
    """RGB bytes [3, H, W] to plane bytes [3, H, W]; chroma is the mean of the 2x2 block whose
    upper left pixel it stands at, so a crop at any offset finds its own 4:2:0 chroma."""
    full = torch.einsum("cr,rhw->chw", _FROM_RGB, rgb.float() / 255)
    chroma = F.pad(full[None, 1:], (0, 1, 0, 1), mode="replicate")
    full = torch.cat([full[:1] + 16.0, F.avg_pool2d(chroma, 2, 1)[0] + 128.0])
    return full.round().clamp(0, 255).to(torch.uint8)


def unpack(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Packed planes to luma [N, 1, H, W] and chroma [N, 2, H/2, W/2]."""
    return F.pixel_shuffle(packed[:, :16], 4), F.pixel_shuffle(packed[:, 16:], 2)


def rgb_mse(error: Tensor) -> Tensor:
    """Mean squared RGB error (0..1, before clipping) of a packed difference in code values.

    The quadratic form of the conversion, so that nothing is brought to full resolution.
    """
    count, _, height, width = error.shape
    luma, u, v = error[:, :16], error[:, 16:20], error[:, 20:]
    sums = luma.reshape(count, 2, 2, 2, 2, height, width).sum((2, 4)).reshape(u.shape)
    form = (_TO_RGB.T @ _TO_RGB).tolist()
    total = form[0][0] * luma.square().sum()
    total = total + 4 * (form[1][1] * u.square().sum() + form[2][2] * v.square().sum())
    total = total + 2 * (sums * (form[0][1] * u + form[0][2] * v) + 4 * form[1][2] * u * v).sum()
    return total / (3 * luma.numel())
