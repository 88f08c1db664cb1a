from __future__ import annotations

from pathlib import Path

import pytest

from streamgen.control.offline import Job, plan
from streamgen.errors import ConfigError, SourceError
from streamgen.testing import synthetic_clip


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.mp4", "b.mkv", "c.avi"):
        synthetic_clip(folder / name, width=64, height=48, frames=1, audio=None)
    return folder


def outputs(jobs: list[Job]) -> list[str]:
    return [job.output.name for job in jobs]


def test_one_input_and_a_folder_make_a_ladder(clips: Path) -> None:
    (job,) = plan([f"{clips}/a.mp4"], "out/")
    assert (job.output, job.ladder) == (Path("out"), True)


def test_one_input_and_a_folder_that_exists_make_a_ladder(clips: Path, tmp_path: Path) -> None:
    (job,) = plan([f"{clips}/a.mp4"], str(tmp_path))
    assert job.ladder


@pytest.mark.parametrize("suffix", [".mp4", ".MP4", ".m4v", ".mov", ".mkv"])
def test_one_input_and_a_file_name_make_that_file(clips: Path, suffix: str) -> None:
    (job,) = plan([f"{clips}/a.mp4"], f"x{suffix}")
    assert (job.output, job.ladder) == (Path(f"x{suffix}"), False)


def test_several_inputs_keep_their_names_and_the_containers_we_write(clips: Path) -> None:
    jobs = plan([f"{clips}/a.mp4", f"{clips}/b.mkv", f"{clips}/c.avi"], "out/")
    assert outputs(jobs) == ["a.mp4", "b.mkv", "c.mp4"]
    assert not any(job.ladder for job in jobs)


def test_a_directory_or_pattern_means_files_even_when_it_holds_one(clips: Path) -> None:
    assert outputs(plan([str(clips)], "out/")) == ["a.mp4", "b.mkv", "c.mp4"]
    (job,) = plan([f"{clips}/*.mkv"], "out/")
    assert (job.output, job.ladder) == (Path("out/b.mkv"), False)


def test_a_url_gives_its_name_without_its_secrets() -> None:
    jobs = plan(["http://x/a%20b.webm?token=s", "rtmp://host/live"], "out/")
    assert outputs(jobs) == ["a b.mp4", "live.mp4"]
    assert jobs[0].name == "http://x/a%20b.webm"


def test_a_file_url_gives_the_name_of_its_file(clips: Path) -> None:
    (clips / "a.mp4").rename(clips / "a b.mp4")
    jobs = plan([(clips / "a b.mp4").as_uri(), str(clips / "b.mkv")], "out/")
    assert outputs(jobs) == ["a b.mp4", "b.mkv"]


def test_a_missing_one_of_several_is_a_job_that_will_fail(clips: Path) -> None:
    jobs = plan([f"{clips}/gone.mp4", f"{clips}/a.mp4"], "out/")
    assert outputs(jobs) == ["gone.mp4", "a.mp4"]
    with pytest.raises(SourceError):
        plan([f"{clips}/gone.mp4"], "out/")


def test_two_inputs_of_one_name_collide(clips: Path) -> None:
    with pytest.raises(ConfigError, match=r"would both become out/a\.mp4"):
        plan([f"{clips}/a.mp4", f"{clips}/a.mp4"], "out/")


def test_several_inputs_do_not_fit_into_one_file(clips: Path) -> None:
    with pytest.raises(ConfigError, match="3 inputs cannot become the one file"):
        plan([str(clips)], "x.mp4")
