"""`Asking`: what operators ask of a stream's worker while it runs, and what that answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from streamgen_edge.attachment import Attachment

ANSWER_S = 1.0
"""An answer that takes longer is not waited for: the change is made all the same."""


class Refusal(Exception):
    """A change was not accepted; the text is for the client."""


class Asking:
    """Of one stream. On the loop's thread."""

    def __init__(self) -> None:
        self._answers: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._request = 0

    async def change(
        self, attachment: Attachment, node: str, values: Mapping[str, Any], over: str
    ) -> tuple[int | None, list[int] | None]:
        """Change parameters on the worker: PTS and time base of the first picture, as far as it
        is known in time. Raises `Refusal`."""
        self._request += 1
        number = self._request
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        attachment.say(params(node, values, over, request=number))
        try:
            told = await asyncio.wait_for(answer, ANSWER_S)
        except TimeoutError:
            told = {}
        finally:
            self._answers.pop(number, None)
        if "error" in told:
            raise Refusal(str(told["error"]))
        return told.get("pts"), told.get("time_base")

    def answered(self, message: Mapping[str, Any]) -> None:
        answer = self._answers.get(message["request"])
        if answer is not None and not answer.done():
            answer.set_result(message)

    def forget(self) -> None:
        """The worker is left: it answers no more."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result({})


def params(
    node: str, values: Mapping[str, Any], over: str = "0s", *, request: int | None = None
) -> dict[str, Any]:
    """For a worker; without a `request` nobody waits for its answer."""
    return {
        "type": "params",
        "request": request,
        "node": node,
        "values": dict(values),
        "over": over,
    }
