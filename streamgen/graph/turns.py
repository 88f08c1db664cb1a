"""`Turns`: who may start. Counts the inputs that are still to come, and lets one picture at a time
into a node."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from streamgen.graph.entry import Entry, left_out
from streamgen.graph.graph import Graph, Node
from streamgen.graph.job import Call, Job
from streamgen.graph.plan import THE_SOURCE, Edge
from streamgen.graph.spec import EdgeKind

Work = tuple[Job, int]
"""A picture and the index of a node that can start on it."""
Later = Callable[[int, Callable[[], None]], None]


class Turns:
    """The state that the threads of a lane share for one session; one short lock."""

    def __init__(
        self,
        graph: Graph,
        entry: Entry,
        after: Later,
        expired: Callable[[Node, Work], None],
        *,
        live: bool,
    ) -> None:
        """`after` runs a call so many nanoseconds later; `expired` is told of a node that goes on
        without an optional input."""
        self._graph = graph
        self._entry = entry
        self._after = after
        self._expired = expired
        self._live = live
        self._lock = threading.Lock()

    def enter(self, job: Job) -> list[Work]:
        """A picture comes in: every node that is due for it gets its turn."""
        nodes = self._graph.nodes
        job.calls = [None] * len(nodes)
        job.waiting = [0] * len(nodes)
        ready: list[Work] = []
        with self._lock:
            for node in nodes:
                if node.every_ns and not self._entry.due(node, job):
                    continue
                call = job.calls[node.index] = Call(job)
                job.open += 1
                if node.ordered and not left_out(node, job):
                    node.turns.append(job)
                if node.every_ns:
                    call.before, node.due = node.due, call
                waiting = 0
                for edge in node.edges:
                    waiting += self._waits(job, call, node.index, edge)
                job.waiting[node.index] = waiting
                if not waiting:
                    ready.append((job, node.index))
        return ready

    def _waits(self, job: Job, call: Call, index: int, edge: Edge) -> bool:
        """Whether this input is still to come; remembers where `latest` will look."""
        if edge.node == THE_SOURCE:
            return False
        if edge.kind is not EdgeKind.LATEST:
            if edge.kind is EdgeKind.OPTIONAL and self._live:
                self._after(edge.limit_ns, partial(self._expire, job, index, edge))
            return True
        if self._live:
            return False
        due = self._graph.nodes[edge.node].due or job.calls[edge.node]
        call.latest[edge.port] = due
        if due is None or due.done:
            return False
        due.readers.append((job, index))
        return True

    def _expire(self, job: Job, index: int, edge: Edge) -> None:
        """An optional input has not come in time: go on without."""
        with self._lock:
            if not job.calls:
                return
            made, call = job.calls[edge.node], job.calls[index]
            if made is None or made.done or call is None:
                return
            call.expired.add(edge.port)
            job.waiting[index] -= 1
            if job.waiting[index]:
                return
        self._expired(self._graph.nodes[edge.node], (job, index))

    def claim(self, node: Node, job: Job, call: Call) -> bool:
        """Take the node for this picture, or stand in line for it."""
        with self._lock:
            if node.busy or (node.ordered and node.turns[0] is not job):
                node.parked.append(job)
                return False
            node.busy = call.claimed = True
            return True

    def leave(self, node: Node, call: Call) -> list[Work]:
        """The node may take the next picture, though this one's outputs are not there yet."""
        with self._lock:
            return self._release(node, call)

    def _release(self, node: Node, call: Call) -> list[Work]:
        if call.claimed:
            call.claimed = node.busy = False
            if node.ordered:
                node.turns.popleft()
            return self._following(node)
        return []

    def _following(self, node: Node) -> list[Work]:
        """Who waits for a node that is free."""
        if not node.parked or node.busy:
            return []
        following = node.turns[0] if node.ordered else node.parked[0]
        if following not in node.parked:
            return []
        node.parked.remove(following)
        return [(following, node.index)]

    def skip(self, node: Node, job: Job, *, hold: bool) -> tuple[bool, list[Work]]:
        """Give up a picture's turn. With `hold` the node is kept for a trial, if it is free:
        `free` gives it back. Says whether it was, and who can start."""
        with self._lock:
            if node.ordered:
                node.turns.remove(job)
            held = hold and not node.busy
            node.busy = node.busy or held
            return held, self._following(node)

    def keep(self, node: Node) -> bool:
        """Hold a node of which every picture has had its turn, to empty it."""
        with self._lock:
            free = bool(node.held) and not node.turns and not node.busy
            node.busy = node.busy or free
            return free

    def free(self, node: Node) -> list[Work]:
        """Give back a node that `skip` or `keep` has held."""
        with self._lock:
            node.busy = False
            return self._following(node)

    def done(self, job: Job, node: Node, call: Call) -> tuple[list[Work], bool]:
        """A node has finished a picture: who can start now, and whether it was the last."""
        with self._lock:
            call.done = True
            call.before = None if call.good else _last_good(call.before)
            ready = self._told(job, node, call)
            if call.good:
                node.remember(call)
            ready += self._release(node, call)
            job.open -= 1
            if not job.open:
                job.calls = []
            return ready, not job.open

    def _told(self, job: Job, node: Node, call: Call) -> list[Work]:
        ready: list[Work] = []
        for reader, edge in self._graph.readers[node.index]:
            reading = job.calls[reader.index]
            if reading is None or edge.kind is EdgeKind.LATEST or edge.port in reading.expired:
                continue
            job.waiting[reader.index] -= 1
            if not job.waiting[reader.index]:
                ready.append((job, reader.index))
        for later, index in call.readers:
            later.waiting[index] -= 1
            if not later.waiting[index]:
                ready.append((later, index))
        call.readers.clear()
        return ready


def _last_good(call: Call | None) -> Call | None:
    """This call, or the last good one before it; short, since a call that ended looks it up."""
    while call is not None and call.done and not call.good:
        call = call.before
    return call
