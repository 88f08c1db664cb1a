"""What comes by the API names no files but those below `media_roots`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from streamgen.errors import ConfigError
from streamgen_edge.roots import paths, refuse_outside


def pipeline(**changes: Any) -> dict[str, Any]:
    ladder = [{"height": 240, "bitrate": "400k"}]
    return {"name": "x", "stages": [], "ladder": ladder, **changes}


def overlay(**params: str) -> dict[str, Any]:
    return pipeline(stages=[{"overlay": params}])


def refused(
    value: dict[str, Any],
    roots: tuple[Path, ...] = (),
    turned: dict[str, dict[str, Any]] | None = None,
    known: frozenset[Path] = frozenset(),
) -> bool:
    try:
        refuse_outside(roots, value, turned or {}, known)
    except ConfigError as error:
        assert "media_roots" in str(error)
        return True
    return False


@pytest.mark.parametrize(
    "value",
    [
        overlay(picture="/etc/passwd"),
        overlay(picture="http://169.254.169.254/latest"),
        overlay(picture="concat:/etc/passwd"),
        overlay(picture="gst:filesrc location=/etc/passwd"),
        overlay(text="x", font="/dev/zero"),
        pipeline(live={"slate": "/etc/passwd"}),
        pipeline(
            graph={"out": {"overlay": {"picture": "/etc/passwd"}, "from": "source"}},
            output="out",
        )
        | {"stages": None},
    ],
)
def test_files_of_this_machine_are_refused_wherever_they_are_named(value: dict[str, Any]) -> None:
    value = {key: one for key, one in value.items() if one is not None}
    assert refused(value)


def test_files_below_a_root_are_taken_and_ways_out_of_it_are_not(tmp_path: Path) -> None:
    root = tmp_path / "logos"
    root.mkdir()
    (tmp_path / "secret.png").touch()
    os.symlink(tmp_path / "secret.png", root / "link.png")
    roots = (root,)
    assert not refused(overlay(picture=str(root / "logo.png")), roots)
    assert refused(overlay(picture=str(root / ".." / "secret.png")), roots)
    assert refused(overlay(picture=str(root / "link.png")), roots)
    assert refused(overlay(picture=str(tmp_path / "logos2" / "logo.png")), roots)


def test_what_a_stream_has_already_may_stay() -> None:
    value = overlay(picture="/srv/logo.png")
    assert paths(value, {}) == {Path("/srv/logo.png")}
    assert not refused(value, known=paths(value, {}))
    assert refused(value, known=frozenset([Path("/srv/other.png")]))


def test_a_parameter_that_is_turned_counts_as_well() -> None:
    value = overlay(text="hello")
    assert not refused(value)
    assert refused(value, turned={"overlay": {"font": "/etc/shadow"}})
