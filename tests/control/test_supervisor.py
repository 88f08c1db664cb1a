"""The supervisor keeps its children alive, and leaves none behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PARENT = """
import sys, threading
from streamgen.control.supervisor import Child, Supervisor
code, pause, *folder = sys.argv[1:]
children = [
    Child("edge", [sys.executable, "-c", code, "edge", *folder], hears_deaths=True),
    Child("worker", [sys.executable, "-c", code, "worker", *folder], last=True),
]
if float(pause):
    for name in ("one", "two"):
        command = [sys.executable, "-c", code, name, *folder]
        children.append(Child(name, command, last=True, pause_s=float(pause)))
supervisor = Supervisor(children)
def asked():
    for name in sys.stdin:
        supervisor.restart(name.strip())
threading.Thread(target=asked, daemon=True).start()
number = supervisor.serve()
print("ended by", number, flush=True)
"""
CHILD = """
import os, signal, sys
from pathlib import Path
name, folder = sys.argv[1], Path(sys.argv[2])
def ended(number, frame):
    with (folder / "ended").open("a") as file:
        file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, ended)
with (folder / name).open("a") as file:
    file.write(f"{os.getpid()}\\n")
for line in sys.stdin:
    (folder / "heard").open("a").write(line)
(folder / f"eof-{name}").touch()
"""


def until(holds: Callable[[], Any], seconds: float = 15.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


class Family:
    """A supervisor in a process of its own, with two children that write down what they see; with
    a pause there are `one` and `two`, who take each other's work over."""

    def __init__(self, folder: Path, code: str = CHILD, pause_s: float = 0) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, code, str(pause_s), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def restart(self, name: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(name.encode() + b"\n")
        self.process.stdin.flush()

    def pids(self, name: str) -> list[int]:
        path = self.folder / name
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def ended(self) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        with self.process.stdin, self.process.stdout as out:
            text = out.read().decode()
        self.process.wait(15)
        return text


def alive(pid: int) -> bool:
    try:
        return b"streamgen" in Path(f"/proc/{pid}/cmdline").read_bytes() or _running(pid)
    except OSError:
        return False


def _running(pid: int) -> bool:
    return " Z " not in Path(f"/proc/{pid}/stat").read_text()


def test_a_child_that_dies_is_started_again_and_the_edge_is_told(tmp_path: Path) -> None:
    family = Family(tmp_path)
    try:
        (first,) = until(lambda: family.pids("worker"))
        until(lambda: family.pids("edge"))
        os.kill(first, signal.SIGKILL)
        until(lambda: len(family.pids("worker")) == 2)
        heard = until(lambda: (tmp_path / "heard").exists() and (tmp_path / "heard").read_text())
        assert heard == f'{{"worker_lost": "worker", "pid": {first}}}\n'
        assert len(family.pids("edge")) == 1
    finally:
        family.process.terminate()
        assert family.ended() == "ended by 15\n"


def test_told_to_end_it_ends_the_edge_first_and_the_workers_after_it(tmp_path: Path) -> None:
    family = Family(tmp_path)
    until(lambda: family.pids("worker") and family.pids("edge"))
    family.process.send_signal(signal.SIGINT)
    assert family.ended() == "ended by 2\n"
    assert (tmp_path / "ended").read_text().split() == ["edge", "worker"]
    assert not any(alive(p) for name in ("edge", "worker") for p in family.pids(name))


def test_killed_itself_its_children_see_the_end_of_their_input(tmp_path: Path) -> None:
    family = Family(tmp_path)
    until(lambda: family.pids("worker") and family.pids("edge"))
    family.process.kill()
    family.ended()
    until(lambda: (tmp_path / "eof-edge").exists() and (tmp_path / "eof-worker").exists())


def test_a_child_that_dies_at_once_is_started_ever_more_seldom(tmp_path: Path) -> None:
    code = "import os, sys; open(f'{sys.argv[2]}/{sys.argv[1]}', 'a').write(f'{os.getpid()}\\n')"
    family = Family(tmp_path, code)
    try:
        until(lambda: len(family.pids("worker")) >= 3)
        time.sleep(1.0)
        assert len(family.pids("worker")) <= 6  # 0, 0.2, 0.5, 1 s between them
    finally:
        family.process.terminate()
        family.ended()


def test_a_child_that_takes_long_to_find_that_it_cannot_start_ends_it_all() -> None:
    code = "import sys, time; time.sleep(0.3); sys.exit(2)"
    program = f"""
import sys
from streamgen.control import supervisor
from streamgen.errors import ConfigError
supervisor.HEALTHY_S = 0.1
start = supervisor.subprocess.Popen
def counted(*given, **options):
    print("started")
    return start(*given, **options)
supervisor.subprocess.Popen = counted
child = supervisor.Child("edge", [sys.executable, "-c", "{code}"])
try:
    supervisor.Supervisor([child]).serve()
except ConfigError as error:
    print(error)
"""
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout == "started\nthe edge cannot start with this configuration\n"


def test_a_child_whose_work_another_takes_over_waits_and_not_when_there_is_none(
    tmp_path: Path,
) -> None:
    family = Family(tmp_path, pause_s=60)
    try:
        (one,) = until(lambda: family.pids("one"))
        (two,) = until(lambda: family.pids("two"))
        os.kill(one, signal.SIGKILL)
        time.sleep(1.0)
        assert family.pids("one") == [one]
        os.kill(two, signal.SIGKILL)
        until(lambda: len(family.pids("one")) == 2 and len(family.pids("two")) == 2, 5)
    finally:
        family.process.terminate()
        family.ended()


def test_a_child_is_ended_and_started_again_at_once_where_that_is_wanted(tmp_path: Path) -> None:
    family = Family(tmp_path, pause_s=60)
    try:
        (two,) = until(lambda: family.pids("two"))
        until(lambda: family.pids("one"))
        for times in (2, 3):
            family.restart("one")
            family.restart("nobody")
            until(lambda n=times: len(family.pids("one")) == n)
        until(lambda: family.pids("edge"))
        assert (tmp_path / "ended").read_text().split() == ["one", "one"]
        assert family.pids("two") == [two]
    finally:
        family.process.terminate()
        assert family.ended() == "ended by 15\n"


def test_one_that_cannot_start_any_more_when_it_is_wanted_anew_ends_no_other(
    tmp_path: Path,
) -> None:
    """As after the installation of a version that does not understand its configuration."""
    listens = "for line in sys.stdin:"
    once = "if len((folder / name).read_text().split()) > 1: sys.exit(2)\n"
    family = Family(tmp_path, CHILD.replace(listens, once + listens))
    try:
        (edge,) = until(lambda: family.pids("edge"))
        until(lambda: family.pids("worker"))
        family.restart("worker")
        until(lambda: len(family.pids("worker")) >= 4)
        assert family.pids("edge") == [edge] and alive(edge)
    finally:
        family.process.terminate()
        assert family.ended() == "ended by 15\n"
