"""Nothing under the final name until it is whole; nothing left behind otherwise."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamgen.deliver.atomic import (
    MARK,
    Partial,
    check_space,
    estimate_bytes,
    refuse_input,
)
from streamgen.deliver.container import FileOutlet
from streamgen.deliver.hls import HlsOutlet
from streamgen.errors import OutputError
from streamgen.protocols import Outlet

from .conftest import Encoded, deliver, feed

KINDS = ["x.mp4", "x.mkv", "ladder"]


def outlet_for(path: Path, *, overwrite: bool = False) -> Outlet:
    if path.suffix:
        return FileOutlet(path, overwrite=overwrite)
    return HlsOutlet(path, overwrite=overwrite, segment_ns=2_000_000_000)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_stands_under_the_final_name_until_it_is_whole(
    tmp_path: Path, video: Encoded, sound: Encoded, name: str
) -> None:
    outlet = outlet_for(tmp_path / name)
    outlet.open([video.track, sound.track])
    feed(outlet, video, sound)
    assert [path.name.startswith(f".{name}{MARK}") for path in tmp_path.iterdir()] == [True]
    outlet.finish()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    outlet.abort()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("until_s", [0.0, 0.3, 5.0])
def test_an_aborted_output_leaves_nothing(
    tmp_path: Path, video: Encoded, sound: Encoded, name: str, until_s: float
) -> None:
    outlet = outlet_for(tmp_path / "new" / "deep" / name)
    outlet.open([video.track, sound.track])
    feed(outlet, video, sound, until_s=until_s)
    outlet.abort()
    outlet.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", KINDS)
def test_missing_parent_folders_are_made(tmp_path: Path, video: Encoded, name: str) -> None:
    deliver(outlet_for(tmp_path / "a" / "b" / name), video)
    assert (tmp_path / "a" / "b" / name).exists()


def test_an_existing_file_is_refused_without_overwrite_and_replaced_with_it(
    tmp_path: Path, video: Encoded
) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already"):
        FileOutlet(path)
    outlet = FileOutlet(path, overwrite=True)
    outlet.open([video.track])
    feed(outlet, video)
    assert path.read_bytes() == b"old"
    outlet.finish()
    assert path.stat().st_size > 1000
    assert [one.name for one in tmp_path.iterdir()] == ["x.mp4"]


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path, video: Encoded) -> None:
    outlet = FileOutlet(tmp_path / "x.mp4")
    outlet.open([video.track])
    feed(outlet, video)
    (tmp_path / "x.mp4").write_bytes(b"theirs")
    with pytest.raises(OutputError, match="file exists"):
        outlet.finish()
    outlet.abort()
    assert (tmp_path / "x.mp4").read_bytes() == b"theirs"
    assert len(list(tmp_path.iterdir())) == 1


def test_only_a_folder_of_ours_is_overwritten(tmp_path: Path, video: Encoded) -> None:
    ours, theirs, empty = (tmp_path / name for name in ("ours", "theirs", "empty"))
    deliver(outlet_for(ours), video)
    (ours / "720p").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        outlet_for(ours)
    deliver(outlet_for(ours, overwrite=True), video)
    assert not (ours / "720p").exists()
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("five years")
    with pytest.raises(OutputError, match="was not made by streamgen"):
        outlet_for(theirs, overwrite=True)
    empty.mkdir()
    deliver(outlet_for(empty), video)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "ours", "theirs"]


@pytest.mark.parametrize("system", ["swaps", "does not"])
def test_a_replaced_folder_leaves_nothing_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    if system == "does not":
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    final = tmp_path / "out"
    for text in ("first", "second"):
        partial = Partial(final, folder=True, overwrite=True)
        (partial.path / "streamgen.json").write_text("{}")
        (partial.path / text).write_text(text)
        partial.commit()
    assert sorted(path.name for path in final.iterdir()) == ["second", "streamgen.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_file_is_never_replaced_by_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.mp4"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(OutputError, match="not a regular file"):
        FileOutlet(path, overwrite=True)


def test_a_file_in_the_way_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="is not a folder"):
        outlet_for(tmp_path / "out", overwrite=True)
    with pytest.raises(OutputError, match="not a directory"):
        Partial(tmp_path / "out" / "x.mp4")


@pytest.mark.parametrize("link", ["same", "symbolic", "hard", "other case of dots"])
def test_an_output_that_is_the_input_is_refused(tmp_path: Path, link: str) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(b"film")
    output = tmp_path / "out.mp4"
    match link:
        case "same":
            output = source
        case "symbolic":
            output.symlink_to(source)
        case "hard":
            output.hardlink_to(source)
        case _:
            output = tmp_path / "." / "in.mp4"
    with pytest.raises(OutputError, match="would overwrite the input"):
        FileOutlet(output, overwrite=True, inputs=[source])


def test_a_ladder_does_not_replace_the_folder_its_input_lies_in(
    tmp_path: Path, video: Encoded
) -> None:
    deliver(outlet_for(tmp_path / "ladder"), video)
    source = tmp_path / "ladder" / "120p" / "init.mp4"
    with pytest.raises(OutputError, match="would overwrite the input"):
        HlsOutlet(tmp_path / "ladder", overwrite=True, inputs=[source])
    refuse_input(tmp_path / "other.mp4", [source])


def test_a_link_to_another_disk_stays_a_link(tmp_path: Path, video: Encoded) -> None:
    (tmp_path / "big").mkdir()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "big" / "x.mp4")
    deliver(FileOutlet(tmp_path / "link.mp4"), video)
    assert (tmp_path / "link.mp4").is_symlink()
    assert (tmp_path / "big" / "x.mp4").is_file()


def test_free_space_is_checked_before_any_byte_is_written(tmp_path: Path, video: Encoded) -> None:
    with pytest.raises(OutputError, match=r"not enough space .* needs about .* MB"):
        check_space(tmp_path / "a" / "b", 1 << 60)
    check_space(tmp_path, 1)
    assert estimate_bytes(10, [8_000, 16_000]) == 33_000
    assert estimate_bytes(None, [8_000]) == 0
    for outlet in (
        FileOutlet(tmp_path / "x.mp4", duration_s=1e15),
        HlsOutlet(tmp_path / "ladder", duration_s=1e15),
    ):
        with pytest.raises(OutputError, match="not enough space"):
            outlet.open([video.track])
        outlet.abort()
    assert list(tmp_path.iterdir()) == []


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    """Every write past `size_bytes` of a file fails, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.parametrize("name", KINDS)
def test_a_write_that_fails_midway_is_one_clean_error(
    tmp_path: Path, video: Encoded, sound: Encoded, name: str
) -> None:
    outlet = outlet_for(tmp_path / name)
    with file_size_limit(6_000), pytest.raises(OutputError, match=name) as caught:
        deliver(outlet, video, sound)
    outlet.abort()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", KINDS)
def test_a_full_disk_is_one_clean_error(
    tmp_path: Path, video: Encoded, sound: Encoded, name: str
) -> None:
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        outlet = outlet_for(tmp_path / name)
        with pytest.raises(OutputError, match="no space left on device"):
            deliver(outlet, video, sound)
        outlet.abort()
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_place_that_cannot_be_written_is_one_clean_error(tmp_path: Path, video: Encoded) -> None:
    for path in (Path("/proc/streamgen/x.mp4"), Path("/proc/x.mp4")):
        outlet = FileOutlet(path)
        with pytest.raises(OutputError, match=f"cannot write {path}"):
            outlet.open([video.track])
        outlet.abort()
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OutputError, match="loop"):
        FileOutlet(loop / "x.mp4").open([video.track])
    with pytest.raises(OutputError, match="file name too long"):
        FileOutlet(tmp_path / f"{'x' * 300}.mp4")


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that this process may look into but not write; root becomes nobody meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65_534)
        try:
            yield Path(name)
        finally:
            os.seteuid(user)
            os.chmod(name, 0o755)


@pytest.mark.parametrize("name", KINDS)
def test_a_read_only_folder_is_one_clean_error(closed: Path, video: Encoded, name: str) -> None:
    outlet = outlet_for(closed / name)
    with pytest.raises(OutputError, match="permission denied"):
        outlet.open([video.track])
    outlet.abort()
    assert list(closed.iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
from streamgen.deliver.atomic import Partial
partial = Partial(Path(sys.argv[1]), folder=sys.argv[2] == "folder")
print(partial.path, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_run_left_is_removed_by_the_next_and_what_runs_is_not(
    tmp_path: Path, kind: str
) -> None:
    final = tmp_path / "x.mp4"
    command = [sys.executable, "-c", KILLED, str(final), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        running = Partial(final)
        assert left.exists()
        running.discard()
        other.send_signal(signal.SIGKILL)
        other.wait(10)
    assert left.exists() and not final.exists()
    following = Partial(final)
    assert not left.exists()
    following.discard()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_is_let_go_with_the_output(tmp_path: Path) -> None:
    partial = Partial(tmp_path / "x.mp4")
    partial.path.write_bytes(b"whole")
    partial.commit()
    with (tmp_path / "x.mp4").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert time.time() - (tmp_path / "x.mp4").stat().st_mtime < 60
