"""`Job`: one picture on its way through a graph. `Call`: what one node made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamgen.graph.governor import Action
from streamgen.media.frame import Frame
from streamgen.protocols import Stage, Value


class Call:
    """One node's turn for one picture. `outputs` is None where it gave nothing."""

    __slots__ = (
        "before",
        "began_ns",
        "claimed",
        "done",
        "epoch",
        "expired",
        "good",
        "inputs",
        "latest",
        "number",
        "outputs",
        "params",
        "pts",
        "readers",
        "tries",
    )

    def __init__(self, job: Job) -> None:
        self.pts, self.epoch, self.number = job.pts, job.frame.epoch, job.number
        self.inputs: Mapping[str, Value] = {}
        self.params: Any = None
        self.outputs: Mapping[str, Value] | None = None
        self.done = False
        self.good = False
        """The stage itself made the outputs: no bypass."""
        self.readers: list[tuple[Job, int]] = []
        """Later pictures' nodes that wait for this one, by index."""
        self.latest: dict[str, Call | None] = {}
        """By name of the input: whose outputs a `latest` edge reads, decided when it came in."""
        self.before: Call | None = None
        """Of a node with a rate of its own: its last good call before, until this one is good."""
        self.expired: set[str] = set()
        """Optional inputs that did not come in time."""
        self.claimed = False
        self.began_ns = 0
        self.tries = 0


class Job:
    """One picture inside a seat, and the values that its nodes have given so far."""

    __slots__ = (
        "action",
        "calls",
        "done",
        "error",
        "fade",
        "frame",
        "level",
        "number",
        "open",
        "owed",
        "params",
        "pts",
        "raw",
        "reason",
        "result",
        "shadow",
        "skipped",
        "slate",
        "stages",
        "started",
        "waiting",
    )

    def __init__(self, frame: Frame, number: int = 0) -> None:
        self.frame = frame
        self.pts = frame.pts
        self.number = number
        self.started = False
        self.done = False
        self.error: BaseException | None = None
        self.reason = ""
        """Why it was dropped."""
        self.result: Frame | None = None
        self.raw = False
        """No stage is called for it: every node steps aside."""
        self.shadow = False
        """Runs only to be measured; nobody waits for it."""
        self.skipped: frozenset[str] = frozenset()
        self.slate = False
        """The slate is shown for it, whatever the governor thinks."""
        self.action = Action.RUN
        """What the governor has decided, on which of its levels."""
        self.level = 0
        self.fade = 1.0
        self.owed = False
        """A worker that died should have shown it: it is late, and worked on all the same."""
        self.params: tuple[Any, ...] = ()
        self.stages: Sequence[Stage] = ()
        self.open = 0
        """Nodes that are not done with it."""
        self.calls: list[Call | None] = []
        """By index of the node; None: not due for this picture."""
        self.waiting: list[int] = []
        """By index of the node: how many of its inputs are still being made."""
