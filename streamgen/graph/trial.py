"""`Trial`: a call that nobody but a breaker waits for; its outputs are only judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from streamgen.errors import StageUnavailable, StreamGenError
from streamgen.graph.blame import Blame
from streamgen.graph.breaker import Outcome
from streamgen.graph.fallback import Outputs, checked, pending
from streamgen.graph.graph import Node
from streamgen.graph.job import Job
from streamgen.protocols import Later


class Trial:
    """One call of a node's stage on the inputs of a frame that has gone on without it."""

    def __init__(
        self,
        node: Node,
        job: Job,
        inputs: Outputs,
        params: Any,
        wake: Callable[[Callable[[], None]], None],
        ended: Callable[[Node, Outcome], None],
    ) -> None:
        self._node, self._job = node, job
        self._inputs, self._params = inputs, params
        self._wake, self._ended = wake, ended
        self._blame = Blame(node.name, job.pts)

    def run(self) -> None:
        """Call the stage; `ended` is told how it went, at once or once its fence has passed."""
        stage = self._node.stage
        try:
            with self._blame:
                stage.reset()
                result = stage.process(self._inputs, self._params)
                fence = pending(result)
        except StageUnavailable:
            self._ended(self._node, Outcome.ABSENT)
            return
        except StreamGenError:  # it has failed, which is the answer
            self._ended(self._node, Outcome.FAILED)
            return
        if fence is None:
            self._judge(result)
        else:
            fence.on_done(partial(self._wake, partial(self._judge, result)))

    def _judge(self, result: Outputs | Later) -> None:
        outcome = Outcome.OK
        try:
            with self._blame:
                outputs = result if isinstance(result, Mapping) else result.outputs()
                for value in outputs.values():
                    if value.ready is not None:
                        value.ready.wait()  # passed already: raises what the work raised
                checked(self._node, self._job, self._inputs, outputs)
        except StageUnavailable:
            outcome = Outcome.ABSENT
        except StreamGenError:
            outcome = Outcome.FAILED
        self._ended(self._node, outcome)
