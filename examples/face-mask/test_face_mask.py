"""The detection is real: a face is drawn, and the cascade has to find it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is not installed")

from streamgen_face_mask import FaceMask  # noqa: E402

from streamgen.errors import ConfigError  # noqa: E402
from streamgen.graph.plan import plan  # noqa: E402
from streamgen.graph.spec import NodeSpec  # noqa: E402
from streamgen.media.port import Contract  # noqa: E402
from streamgen.testing import flat, frame_of, moving, noise, run_stage  # noqa: E402

# Ellipses of a face whose half width is 1: x, y, half axes, brightness.
FACE = [
    (0.0, -0.25, 0.95, 1.15, 40),  # hair
    (0.0, 0.1, 0.78, 1.05, 190),
    *((side * 0.34, -0.12, 0.24, 0.13, 110) for side in (-1, 1)),  # sockets
    *((side * 0.34, -0.30, 0.26, 0.06, 70) for side in (-1, 1)),  # brows
    *((side * 0.34, -0.10, 0.17, 0.08, 215) for side in (-1, 1)),  # eyes
    *((side * 0.34, -0.10, 0.09, 0.09, 30) for side in (-1, 1)),
    *((side * 0.45, 0.35, 0.16, 0.14, 205) for side in (-1, 1)),  # cheeks
    *((side * 0.10, 0.36, 0.07, 0.05, 110) for side in (-1, 1)),  # nostrils
    (0.0, 0.12, 0.08, 0.28, 215),  # bridge of the nose
    (0.0, 0.68, 0.30, 0.08, 95),  # mouth
]


def drawn(width: int, height: int, *faces: tuple[int, int, int]) -> Any:
    """A frame with faces at x, y, of this half width."""
    luma = np.full((height, width), 90, np.uint8)
    for cx, cy, r in faces:
        for x, y, a, b, value in FACE:
            center, axes = (round(cx + x * r), round(cy + y * r)), (round(a * r), round(b * r))
            cv2.ellipse(luma, center, axes, 0, 0, 360, value, cv2.FILLED, cv2.LINE_AA)
    luma = cv2.GaussianBlur(luma, (0, 0), 1.5)
    grey = np.full(((height + 1) // 2, (width + 1) // 2), 128, np.uint8)
    return frame_of([luma, grey, grey.copy()])


def masked(frame: Any, **params: Any) -> Any:
    """The mask in the size of the picture."""
    [made] = run_stage(FaceMask, [frame], params)
    mask = made["mask"].data
    return cv2.resize(mask, (frame.width, frame.height), interpolation=cv2.INTER_NEAREST)


def test_a_face_is_found_where_it_is() -> None:
    mask = masked(drawn(640, 480, (200, 240, 70)))
    assert mask[240, 200] == 255
    assert mask[200:280, 170:230].min() == 255
    assert mask[:, 400:].max() == 0 and mask[:60].max() == 0
    ys, xs = np.nonzero(mask)
    assert abs(xs.mean() - 200) < 20 and abs(ys.mean() - 240) < 30


def test_every_face_is_found_and_a_picture_without_one_gives_nothing() -> None:
    mask = masked(drawn(1280, 720, (300, 300, 90), (900, 420, 120)))
    assert (mask[300, 300], mask[420, 900], mask[360, 620]) == (255, 255, 0)
    for empty in (flat(640, 480, 90), noise(320, 240), *moving(2, 320, 240)):
        assert masked(empty).max() == 0


def test_the_mask_grows_by_pixels_of_the_picture() -> None:
    frame = drawn(1280, 720, (640, 360, 120))
    widths = [np.nonzero(masked(frame, grow=grow).max(0))[0] for grow in (0, 40)]
    wider = np.ptp(widths[1]) - np.ptp(widths[0])
    assert abs(wider - 80) <= 8


def test_small_faces_are_left_out_when_told_so() -> None:
    frame = drawn(640, 480, (300, 240, 50))
    assert masked(frame, smallest=0.1).max() == 255
    assert masked(frame, smallest=0.5).max() == 0


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (321, 243)])
def test_any_size_is_searched(size: tuple[int, int]) -> None:
    assert masked(noise(*size)).shape == (size[1], size[0])


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="grow"):
        run_stage(FaceMask, [flat(16, 16, 0)], {"grow": -1})


def test_it_joins_a_graph_at_its_own_rate() -> None:
    nodes = {
        "faces": NodeSpec.model_validate({"face-mask": {}, "from": "source", "every": "200ms"}),
        "out": NodeSpec.model_validate(
            {
                "mask": {},
                "from": {
                    "picture": "source",
                    "keep": "source",
                    "mask": {"node": "faces", "edge": "latest", "max_age": "500ms"},
                },
            }
        ),
    }
    join = Contract.of(pytest.importorskip("streamgen.stages.mask").Mask)
    planned = plan(nodes, "out", {"faces": Contract.of(FaceMask), "out": join})
    assert [node.name for node in planned.nodes] == ["faces", "out"]
    assert (Path(__file__).parent / "faces.yaml").is_file()
