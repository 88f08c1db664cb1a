"""What streams take: as measured, else assumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamgen.control.placement.profiles import Profiles
from streamgen.control.placement.resources import Resources
from streamgen.errors import ConfigError
from streamgen.pipeline import load_pipeline, parse_pipeline


def test_a_measured_profile_counts_and_others_are_assumed_by_size_and_rate(tmp_path: Path) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text(
        "profiles:\n- name: starry-720p30\n  needs:\n    - {cpu_ms: 1410, memory_mb: 700}\n"
    )
    profiles, starry = Profiles.of(file), load_pipeline("starry")
    measured = profiles.profile(starry, 1280, 720, 30.0)
    assert measured.needs == (Resources(cpu_ms=1410, memory_mb=700),)
    assert measured.models == {"starry@1280x720"}
    half = profiles.profile(starry, 1280, 720, 15.0)
    assert half.name == "starry-720p15" and half.needs[0].cpu_ms < measured.needs[0].cpu_ms
    plain = profiles.profile(load_pipeline("transcode"), 1280, 720, 15.0)
    assert plain.needs[0].cpu_ms < half.needs[0].cpu_ms and not plain.models


def test_a_file_that_is_none_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text("profiles:\n- name: x\n  needs: []\n")
    with pytest.raises(ConfigError, match=r"profiles\.yaml"):
        Profiles.of(file)


def test_only_what_a_pipeline_can_give_up_is_planned_with_and_memory_never_is(
    tmp_path: Path,
) -> None:
    file = tmp_path / "profiles.yaml"
    rows = "".join(
        f"- name: {name}-90p25\n  needs:\n"
        + "".join(f"    - {{cpu_ms: {ms}, memory_mb: {ms}}}\n" for ms in needs)
        for name, needs in (("raw", (90, 50, 20)), ("never", (90, 50, 20)), ("plain", (50, 20)))
    )
    file.write_text("profiles:\n" + rows)
    profiles = Profiles.of(file)
    ladder = [{"height": 90, "bitrate": "100k"}, {"height": 46, "bitrate": "50k"}]
    stages = [{"style": {"model": "starry"}}]

    def cpu(name: str, **of: Any) -> list[int]:
        pipeline = parse_pipeline({"name": name, "ladder": ladder, **of})
        needs = profiles.profile(pipeline, 160, 90, 25.0).needs
        assert {need.memory_mb for need in needs} == {needs[0].memory_mb}
        return [need.cpu_ms for need in needs]

    assert cpu("raw", stages=stages) == [90, 50, 20]
    assert cpu("never", stages=stages, live={"when_late": ["reuse", "slate"]}) == [90]
    assert cpu("plain") == [50, 50, 20]  # there is no enhancement, only rungs
    assert len(cpu("unknown", stages=stages)) == 3 and len(cpu("unknown")) == 3
    assert len(cpu("unknown", ladder=ladder[:1])) == 1
