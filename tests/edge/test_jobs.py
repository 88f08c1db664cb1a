"""What jobs of the API may name: files below `media_roots`, and nothing that is run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed")

from streamgen.errors import ConfigError, StreamGenError
from streamgen_edge.jobs import JobRequest, ordered
from streamgen_edge.settings import Server
from streamgen_edge.store import store_of


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder of films, and what lies beside it."""
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "film.mp4").touch()
    (tmp_path / "secret.mp4").touch()
    os.symlink(tmp_path / "secret.mp4", folder / "link.mp4")
    os.symlink(tmp_path, folder / "up")
    return folder


def request(media: Path, **changes: Any) -> JobRequest:
    value = {"pipeline": "starry", "input": f"{media}/film.mp4", "output": f"{media}/out.mp4"}
    return JobRequest.model_validate(value | changes)


def test_files_and_ladders_below_a_root_are_taken(media: Path) -> None:
    order = ordered(request(media), [media])
    assert (order.input, order.output) == (f"{media}/film.mp4", f"{media}/out.mp4")
    assert not order.ladder
    assert ordered(request(media, output=f"{media}/new/ladder/"), [media]).ladder


def test_links_are_followed_before_and_not_after(media: Path) -> None:
    os.symlink(media / "film.mp4", media / "same.mp4")
    assert ordered(request(media, input=f"{media}/same.mp4"), [media]).input.endswith("/film.mp4")


@pytest.mark.parametrize("which", ["input", "output"])
@pytest.mark.parametrize(
    "name",
    [
        "{media}/../secret.mp4",
        "{media}/link.mp4",
        "{media}/up/secret.mp4",
        "{media}2/film.mp4",
        "{media}",
        "{media}/",
        "/etc/passwd",
        "film.mp4",
        "",
        "-",
        "https://example.com/a.mp4",
        "file:///etc/passwd",
        "concat:{media}/film.mp4",
        "gst:filesrc location={media}/film.mp4",
        "{media}/film.mp4\0",
    ],
)
def test_files_elsewhere_are_refused(which: str, name: str, media: Path) -> None:
    with pytest.raises(ConfigError, match=r"media_roots|whole path"):
        ordered(request(media, **{which: name.format(media=media)}), [media])


def test_without_roots_there_are_no_jobs(media: Path) -> None:
    with pytest.raises(ConfigError, match="media_roots"):
        ordered(request(media), [])


@pytest.mark.parametrize("name", ["*.mp4", "nothing.mp4", "up/../media"])
def test_an_input_is_one_file(name: str, media: Path) -> None:
    with pytest.raises(ConfigError):
        ordered(request(media, input=f"{media}/{name}"), [media])


@pytest.mark.parametrize(
    "stage",
    [
        {"resize": {"height": 90}, "isolation": "process", "python": "/bin/true"},
        {"overlay": {"picture": "/etc/passwd"}},
        {"no.such.module:Stage": {}},
        {"os.system": {}},
    ],
)
def test_a_pipeline_names_nothing_of_this_machine(stage: dict[str, Any], media: Path) -> None:
    ladder = [{"height": "source", "bitrate": "400k"}]
    value = {"stages": [stage], "ladder": ladder}
    with pytest.raises(StreamGenError):
        ordered(request(media, pipeline=value), [media])
    assert ordered(request(media, pipeline={"ladder": ladder}), [media]).pipeline["name"] == "job"


def test_the_path_of_a_pipeline_is_no_name(media: Path) -> None:
    (media / "mine.yaml").write_text("name: mine\n")
    with pytest.raises(ConfigError, match="no pipeline"):
        ordered(request(media, pipeline=f"{media}/mine.yaml"), [media])


def test_a_store_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="store: "):
        store_of(Server(store="mysql://localhost/x"), lambda: 0)
