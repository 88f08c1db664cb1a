"""What an output was made from is found inside it, and only an exact match counts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamgen.deliver.container import FileOutlet
from streamgen.deliver.hls import HlsOutlet
from streamgen.deliver.manifest import (
    InputIdentity,
    Manifest,
    describe_input,
    matches,
    read_manifest,
)
from streamgen.errors import SourceError
from streamgen.protocols import Outlet

from .conftest import Encoded, deliver

MANIFEST = Manifest(
    input=InputIdentity(name="ü.mp4", size_bytes=5, mtime_ns=7, head_hash="00"),
    pipeline="abc",
    models={"starry": "def"},
    settings="ghi",
)


def made(path: Path, manifest: Manifest | None) -> Outlet:
    if path.suffix:
        return FileOutlet(path, manifest=manifest, metadata={"comment": "mine"})
    return HlsOutlet(path, manifest=manifest)


@pytest.mark.parametrize("name", ["x.mp4", "x.mov", "x.mkv", "ladder"])
def test_a_manifest_is_found_in_every_kind_of_output(
    tmp_path: Path, video: Encoded, sound: Encoded, name: str
) -> None:
    deliver(made(tmp_path / name, MANIFEST), video, sound)
    assert read_manifest(tmp_path / name) == MANIFEST
    assert matches(tmp_path / name, MANIFEST)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_manifest_is_found_in_a_fragmented_file(tmp_path: Path, video: Encoded) -> None:
    outlet = FileOutlet(tmp_path / "x.mp4", fragmented=True, manifest=MANIFEST)
    deliver(outlet, video)
    assert matches(outlet.path, MANIFEST)


@pytest.mark.parametrize(
    "change",
    [
        {"pipeline": "other"},
        {"models": {"starry": "other"}},
        {"models": {}},
        {"settings": "other"},
        {"version": "0.0.1"},
        {"input": MANIFEST.input.model_copy(update={"mtime_ns": 8})},
        {"input": MANIFEST.input.model_copy(update={"size_bytes": 6})},
        {"input": MANIFEST.input.model_copy(update={"head_hash": "01"})},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_difference_means_another_output(
    tmp_path: Path, video: Encoded, change: dict[str, Any]
) -> None:
    deliver(made(tmp_path / "x.mp4", MANIFEST), video)
    assert not matches(tmp_path / "x.mp4", MANIFEST.model_copy(update=change))


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "ladder"])
def test_an_output_without_a_manifest_never_matches(
    tmp_path: Path, video: Encoded, name: str
) -> None:
    deliver(made(tmp_path / name, None), video)
    assert read_manifest(tmp_path / name) is None
    assert not matches(tmp_path / name, MANIFEST)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x00\x00\x08ftyp", b"\x00\x00\x00\x01ftyp" + bytes(20), b"\x00" * 40, b"hello"],
)
def test_damaged_outputs_never_match(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    assert read_manifest(path) is None
    assert read_manifest(tmp_path / "missing.mp4") is None


def test_an_output_cut_off_before_its_manifest_never_matches(
    tmp_path: Path, video: Encoded
) -> None:
    path = tmp_path / "x.mp4"
    deliver(made(path, MANIFEST), video)
    path.write_bytes(path.read_bytes()[:-10])
    assert read_manifest(path) is None


def test_players_do_not_mind_the_manifest(
    tmp_path: Path, video: Encoded, probe: Callable[..., dict[str, Any]]
) -> None:
    deliver(made(tmp_path / "x.mp4", MANIFEST), video)
    shown = probe(tmp_path / "x.mp4", "-show_format", "-count_frames", "-show_streams")
    assert shown["streams"][0]["nb_read_frames"] == "150"
    assert shown["format"]["tags"]["comment"] == "mine"


def test_an_input_is_known_by_size_time_and_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    path.write_bytes(bytes(3 << 20))
    os.utime(path, ns=(5, 5))
    first = describe_input(path)
    assert (first.name, first.size_bytes, first.mtime_ns) == ("in.mp4", 3 << 20, 5)
    assert describe_input(path) == first
    for at in (0, (3 << 20) - 1):
        data = bytearray(3 << 20)
        data[at] = 1
        path.write_bytes(data)
        os.utime(path, ns=(5, 5))
        assert describe_input(path).head_hash != first.head_hash


def test_a_manifest_does_not_tell_where_the_input_lay(tmp_path: Path) -> None:
    path = tmp_path / "in.mp4"
    path.write_bytes(b"film")
    assert str(tmp_path) not in describe_input(path).model_dump_json()


def test_an_input_that_cannot_be_read_is_one_clean_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot read .*: no such file"):
        describe_input(tmp_path / "missing.mp4")


def test_nothing_is_taken_from_a_pipe_to_describe_it(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.ts"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(pipe, os.O_WRONLY)
    try:
        os.write(writer, b"film")
        assert describe_input(pipe) == InputIdentity(name="pipe.ts")
        assert os.read(reader, 10) == b"film"
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("harm", ["removed", "emptied"])
@pytest.mark.parametrize(
    "pattern", ["*/seg_00001.m4s", "*/init.mp4", "*/index.m3u8", "index.m3u8", "audio/0/seg*"]
)
def test_a_ladder_with_a_part_missing_never_matches(
    tmp_path: Path, video: Encoded, sound: Encoded, pattern: str, harm: str
) -> None:
    ladder = tmp_path / "ladder"
    deliver(made(ladder, MANIFEST), video, sound)
    assert matches(ladder, MANIFEST)
    part = next(ladder.glob(pattern))
    part.unlink()
    if harm == "emptied":
        part.touch()
    assert not matches(ladder, MANIFEST)
