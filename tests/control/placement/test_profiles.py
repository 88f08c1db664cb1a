"""What streams take: as measured, else assumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgen.control.placement.profiles import Profiles
from streamgen.control.placement.resources import Resources
from streamgen.errors import ConfigError
from streamgen.pipeline import load_pipeline


def test_a_measured_profile_counts_and_others_are_assumed_by_size_and_rate(tmp_path: Path) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text(
        "profiles:\n- name: starry-720p30\n  needs:\n    - {cpu_ms: 1410, memory_mb: 700}\n"
    )
    profiles, starry = Profiles.of(file), load_pipeline("starry")
    measured = profiles.profile(starry, 1280, 720, 30.0)
    assert measured.needs == (Resources(cpu_ms=1410, memory_mb=700),)
    assert measured.models == {"starry"}
    half = profiles.profile(starry, 1280, 720, 15.0)
    assert half.name == "starry-720p15" and half.needs[0].cpu_ms < measured.needs[0].cpu_ms
    plain = profiles.profile(load_pipeline("transcode"), 1280, 720, 15.0)
    assert plain.needs[0].cpu_ms < half.needs[0].cpu_ms and not plain.models


def test_a_file_that_is_none_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text("profiles:\n- name: x\n  needs: []\n")
    with pytest.raises(ConfigError, match=r"profiles\.yaml"):
        Profiles.of(file)
