from __future__ import annotations

import numpy as np
import pytest

from streamgen.errors import ConfigError, ModelError
from streamgen.runtimes.compose import PictureLayout, _codes_from_rgb, parse_layout


def test_a_layout_is_read_part_by_part() -> None:
    assert parse_layout("") == PictureLayout()
    assert parse_layout("BGR, 0..255, nhwc") == PictureLayout("bgr", "0..255", "", "nhwc")
    layout = parse_layout("-1..1>0..1")
    assert (layout.range, layout.gives, layout.color) == ("-1..1", "0..1", "rgb")
    assert parse_layout("0..255").gives == "0..255"


@pytest.mark.parametrize("text", ["grb", "0..2", "0..1>0..3", "rgb;bgr"])
def test_an_unknown_part_of_a_layout_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="unknown part"):
        parse_layout(text)


@pytest.mark.parametrize(
    ("matrix", "full_range", "white", "red"),
    [
        ("bt709", False, (235, 128, 128), (63, 102, 240)),
        ("bt601", False, (235, 128, 128), (81, 90, 240)),
        ("bt601", True, (255, 128, 128), (76, 85, 255.5)),
    ],
)
def test_colours_have_the_codes_of_the_standards(
    matrix: str, full_range: bool, white: tuple[float, ...], red: tuple[float, ...]
) -> None:
    from_rgb, black = _codes_from_rgb(matrix, full_range)
    np.testing.assert_allclose(from_rgb @ [1, 1, 1] + black, white, atol=0.5)
    np.testing.assert_allclose(from_rgb @ [1, 0, 0] + black, red, atol=0.6)


def test_an_unknown_matrix_is_refused() -> None:
    with pytest.raises(ModelError, match="ycgco"):
        _codes_from_rgb("ycgco", False)
