from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from streamgen.control.offline import Choices, Job, carry, check_fragmented, plan
from streamgen.errors import ConfigError, SourceError
from streamgen.graph.lane import Lane
from streamgen.pipeline import Pipeline
from streamgen.session import Session
from streamgen.telemetry import Telemetry
from streamgen.testing import synthetic_clip


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.mp4", "b.mkv", "c.avi"):
        synthetic_clip(folder / name, width=64, height=48, frames=1, audio=None)
    return folder


class Nobody:
    """Watches without a word."""

    def watching(
        self, job: Job, session: Session, telemetry: Telemetry
    ) -> AbstractContextManager[None]:
        return nullcontext()


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


def test_a_pipeline_is_one_live_stream_under_the_name_of_its_end(clips: Path) -> None:
    there = "gst:video. ! queue ! srtsink uri=srt://127.0.0.1:7001 passphrase=hunter2"
    (job,) = plan([f"{clips}/a.mp4"], there)
    assert (str(job.output), job.sending, job.ladder) == ("gst:srtsink", there, False)
    with pytest.raises(ConfigError, match="3 inputs cannot become one live stream"):
        plan([str(clips)], there)
    with pytest.raises(ConfigError, match="--fragmented is for MP4 files, not for gst:srtsink"):
        check_fragmented([job])


def test_a_pipeline_as_input_gives_its_first_element_as_name(clips: Path) -> None:
    jobs = plan(["gst:srtsrc uri=srt://a passphrase=hunter2", f"{clips}/a.mp4"], "out/")
    assert outputs(jobs) == ["srtsrc.mp4", "a.mp4"]
    assert jobs[0].name == "gst:srtsrc"


@pytest.mark.parametrize(
    ("given", "output"), [("gst:fakesrc", "o.mp4"), ("{clip}", "gst:fakesink")]
)
def test_only_the_command_line_may_name_pipelines(
    clips: Path, tmp_path: Path, given: str, output: str
) -> None:
    (job,) = plan([given.replace("{clip}", f"{clips}/a.mp4")], output)
    with Lane() as lane, pytest.raises((SourceError, ConfigError), match="are refused here"):
        carry(Pipeline(name="x"), job, Choices(), Nobody(), lane)
