"""A worker runs once, whoever holds it, and is found again by whoever comes next."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("zmq")

from streamgen.control.keys import new_key
from streamgen.control.launch.berths import Berths, runtime_folder
from streamgen.control.launch.fleet import Fleet
from streamgen.control.launch.holder import Holder, machine
from streamgen.errors import ConfigError
from tests.control.launch.waiting import alive, until

FLEET = Fleet("some", 1, ("/nowhere/coordinator",), drain_s=0)
ALONE = """
import os, sys, time
from pathlib import Path
from streamgen.control.launch.fleet import Fleet
from streamgen.control.launch.holder import Holder
fleet = Fleet("some", 1, ("/nowhere/coordinator",), drain_s=0)
Holder(fleet, share=1, berth=None, environment=os.environ, folder=Path(sys.argv[1])).start()
time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: sockets have it in their names."""
    found = Path(tempfile.mkdtemp(prefix="sg-"))
    yield found
    Berths("some", found).end_all()
    shutil.rmtree(found)


def holder(folder: Path, fleet: Fleet = FLEET, berth: str | None = None) -> Holder:
    one = Holder(fleet, share=1, berth=berth, environment=os.environ, folder=folder)
    one.start()
    return one


def running(one: Holder) -> tuple[str, int]:
    """Name and process, as soon as it has some."""
    name, _, pid = until(lambda: (found := one.state())[1] == "runs" and found, "it runs")
    return name, pid


def test_each_holder_has_a_worker_of_its_own_and_ends_it(folder: Path) -> None:
    holders = [holder(folder), holder(folder)]
    pairs = [running(one) for one in holders]
    assert sorted(name for name, _ in pairs) == [f"some-{machine()}-0", f"some-{machine()}-1"]
    for one, (_, pid) in zip(holders, pairs, strict=True):
        assert alive(pid)
        one.stop()
        assert not alive(pid)
    assert not list(Berths("some", folder).all())


def test_a_worker_that_was_given_a_gpu_shares_it_with_no_other_of_its_machine(folder: Path) -> None:
    with_gpu, without = holder(folder, replace(FLEET, gpus=1), "gpu0"), holder(folder)
    told = [Path(f"/proc/{running(one)[1]}/cmdline").read_bytes() for one in (with_gpu, without)]
    assert [b"\0--own-gpu\0" in line for line in told] == [True, False]
    with_gpu.stop()
    without.stop()


def test_a_holder_that_is_killed_leaves_its_worker_to_the_next(folder: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", ALONE, str(folder)], start_new_session=True, env=os.environ
    )
    berths = Berths("some", folder)
    kept = until(lambda: (found := berths.look("0")) and found.running and found, "it is kept")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    second = holder(folder)
    name, pid = running(second)
    assert kept.running == {name: pid}
    second.stop()
    assert not alive(pid)


def test_what_was_left_behind_is_held_before_anything_is_started(folder: Path) -> None:
    holders = [holder(folder)]
    running(holders[0])
    alone = subprocess.Popen([sys.executable, "-c", ALONE, str(folder)], env=os.environ)
    berths = Berths("some", folder)
    kept = until(lambda: (found := berths.look("1")) and found.running and found, "it is kept")
    holders[0].stop()
    alone.kill()
    alone.wait()
    until(lambda: not getattr(berths.look("1"), "held", True), "nobody holds it")
    second = holder(folder)
    assert dict([running(second)]) == kept.running
    second.stop()


def test_a_worker_that_died_comes_again_under_its_name(folder: Path) -> None:
    one = holder(folder)
    name, pid = running(one)
    os.kill(pid, signal.SIGKILL)
    until(lambda: one.state()[2] not in (None, pid), "another process")
    assert running(one)[0] == name
    one.stop()


def test_a_worker_is_restarted_by_its_keeper_wherever_that_is(folder: Path) -> None:
    holders = [holder(folder), holder(folder)]
    (first, before), (second, other) = map(running, holders)
    berths = Berths("some", folder)
    assert berths.restart(second) and not berths.restart("nobody")
    until(lambda: holders[1].state()[2] not in (None, other), "another process")
    assert running(holders[0]) == (first, before) and running(holders[1])[0] == second
    for one in holders:
        one.stop()


def test_a_keeper_that_died_takes_its_worker_along_and_both_come_again(folder: Path) -> None:
    one = holder(folder)
    name, pid = running(one)
    kept = Berths("some", folder).look("0")
    assert kept is not None
    os.kill(kept.pid, signal.SIGKILL)
    until(lambda: not alive(pid), "the worker ends")
    until(lambda: one.state()[2] not in (None, pid), "another process")
    assert running(one)[0] == name
    one.stop()


def test_what_nobody_holds_ends_after_a_while(folder: Path) -> None:
    alone = ALONE.replace("drain_s=0", "drain_s=0, outlive_s=1")
    first = subprocess.Popen([sys.executable, "-c", alone, str(folder)], env=os.environ)
    berths = Berths("some", folder)
    kept = until(lambda: (found := berths.look("0")) and found.running and found, "it is kept")
    first.kill()
    first.wait()
    until(lambda: not berths.taken("0"), "it ends")
    assert not any(map(alive, kept.running.values()))


def test_what_was_left_behind_with_other_settings_ends(folder: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", ALONE, str(folder)], env=os.environ)
    berths = Berths("some", folder)
    kept = until(lambda: (found := berths.look("0")) and found.running and found, "it is kept")
    first.kill()
    first.wait()
    until(lambda: not getattr(berths.look("0"), "held", True), "nobody holds it")
    second = holder(folder, replace(FLEET, coordinators=("/elsewhere/coordinator",)))
    _, pid = running(second)
    assert pid not in kept.running.values()
    assert not any(map(alive, kept.running.values()))
    second.stop()


def test_the_worker_of_a_device_is_there_once(folder: Path) -> None:
    one = holder(folder, berth="gpu0")
    name, _ = running(one)
    assert name == f"some-{machine()}-gpu0"
    other = holder(folder, berth="gpu0")
    assert other.state() == ("", "looks for a place", None)
    one.stop()
    running(other)
    other.stop()


def test_what_cannot_start_says_why_and_is_not_tried_again(folder: Path) -> None:
    key = folder / "key"
    new_key(key)
    key.chmod(0o644)
    one = holder(folder, replace(FLEET, key=key))
    told = until(lambda: (found := one.state()[1]).startswith("cannot") and found, "it says so")
    assert told == f"cannot start: everybody may read the key {key}: chmod 600 {key}"
    one.stop()
    one = holder(folder, replace(FLEET, coordinator_key="nonsense"))
    told = until(lambda: (found := one.state()[1]).startswith("cannot") and found, "it says so")
    assert "not a public key of a link: 'nonsense'" in told
    one.stop()
    assert not list(Berths("some", folder).all())


def test_a_folder_that_others_can_enter_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    found = runtime_folder()
    assert found.stat().st_mode & 0o777 == 0o700
    found.chmod(0o750)
    with pytest.raises(ConfigError, match="only we can enter"):
        runtime_folder()
    found.rmdir()
    found.symlink_to(folder)
    with pytest.raises(ConfigError, match="only we can enter"):
        runtime_folder()


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 21, "-x"])
def test_a_cluster_s_name_is_no_path(name: str) -> None:
    with pytest.raises(ConfigError, match="not a name for a cluster"):
        Fleet(name, 1)


def test_coordinators_at_a_port_need_keys() -> None:
    with pytest.raises(ConfigError, match="need --key and --coordinator-key"):
        Fleet("some", 1, ("10.0.0.5:7100",))
