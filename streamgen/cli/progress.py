"""What a person sees while jobs run: a bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from streamgen.cli.lines import one_line
from streamgen.report import Progress as State

REDRAW_S = 0.2
LINE_S = 5.0
"""Between two plain lines: a log is read later, and wants few."""


class _Quiet:
    """A text stream that goes quiet, for good, when nobody takes what is written to it.

    A closed pipe (`| head -1`), a full disk or a vanished terminal ends what is said, not the run.
    """

    def __init__(self, out: TextIO | None) -> None:
        self._out = io.StringIO() if out is None else out
        self._gone = out is None  # how Python says that it was started without one

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)

    def write(self, text: str) -> int:
        try:
            return len(text) if self._gone else self._out.write(text)
        except OSError:
            self._leave()
            return len(text)

    def flush(self) -> None:
        try:
            if not self._gone:
                self._out.flush()
        except OSError:
            self._leave()

    def _leave(self) -> None:
        self._gone = True
        try:
            number = self._out.fileno()
        except OSError:
            return  # no file of the system, so nothing is flushed when the process ends
        # What is left in the stream's buffer is flushed at the end of the process.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)


class Screen:
    """Follows one job after the other on `out`. Without readers it says nothing, and goes on."""

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=cast(TextIO, _Quiet(out)), highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """One plain line, above the bar if there is one."""
        self._console.print(Text(one_line(line)))

    @contextmanager
    def following(self, name: str, ask: Callable[[], State]) -> Iterator[None]:
        """Show the progress of what has this name until the block is left."""
        name = one_line(name)
        if self._console.is_terminal:
            with self._bar(name) as update, _every(REDRAW_S, lambda: update(ask())):
                yield
        else:
            with _every(LINE_S, lambda: self.say(f"{name}: {sentence(ask())}")):
                yield

    @contextmanager
    def _bar(self, name: str) -> Iterator[Callable[[State], None]]:
        columns = (
            TextColumn("{task.description}", style="bold", markup=False),
            BarColumn(bar_width=28, complete_style="cyan", finished_style="cyan"),
            TextColumn("{task.fields[figures]}", markup=False),
            TextColumn("{task.fields[load]}", style="dim", markup=False),
        )
        bar = Bar(*columns, console=self._console, transient=True, auto_refresh=False)
        with bar:
            task = bar.add_task(name, total=None, figures="starting", load="")

            def update(state: State) -> None:
                bar.update(
                    task,
                    total=state.total_frames,
                    completed=state.frames,
                    figures=figures(state),
                    load=loads(state.load),
                )
                bar.refresh()

            yield update


@contextmanager
def _every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Call again and again from a thread that ends with the block."""
    left = threading.Event()

    def ticking() -> None:
        while not left.wait(seconds):
            call()

    thread = threading.Thread(target=ticking, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


def figures(state: State) -> str:
    """`240/1320 frames, 41.2 fps, 0:26 left`."""
    total = f"/{state.total_frames}" if state.total_frames else ""
    left = "" if state.left_s is None else f", {clock(state.left_s)} left"
    return f"{state.frames}{total} frames, {state.fps:.1f} fps{left}"


def loads(load: Mapping[str, float]) -> str:
    """The share of time each step is busy, encoders as one: `decode 12% style 95% encode 60%`.

    A step that works on several pictures at once is busy, not busier.
    """
    shares: dict[str, float] = {}
    for step, share in load.items():
        name = step.rpartition("/")[2] if step.startswith("stage/") else step.partition("/")[0]
        shares[name] = max(min(share, 1.0), shares.get(name, 0.0))
    return " ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.01)


def sentence(state: State) -> str:
    load = loads(state.load)
    return f"{figures(state)}{'; ' if load else ''}{load}"


def clock(seconds: float) -> str:
    """`0:26`, `12:05`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
