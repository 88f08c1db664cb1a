"""`Spread`: WHEP and WHIP for the edge, with viewers in other processes once the edge is busy."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any

from streamgen.telemetry import Telemetry
from streamgen_edge.egress.egress import Egress
from streamgen_edge.webrtc import http
from streamgen_edge.webrtc.app import WebRtcApp
from streamgen_edge.webrtc.http import Asked, Receive, Refusal, Scope, Send
from streamgen_edge.webrtc.offer import MOST_BYTES

LOOK_S = 1.0
SMOOTH = 0.5
EARLY = 0.75
"""Of the load from which on others take viewers; a process is started then, to be ready in time."""
MOST = 0.9
"""A process that uses so much of its core gets no viewers while this one uses less."""
REST_S = 60.0
"""A process without viewers ends after so long."""


class Spread:
    """An ASGI application in front of `WebRtcApp`. `close` ends all processes."""

    def __init__(
        self,
        own: WebRtcApp,
        network: Mapping[str, Any],
        *,
        most: int | None = None,
        full: float = 0.6,
        telemetry: Telemetry,
    ) -> None:
        """At most `most` processes (None: one for every two cores), which get viewers while this
        one uses `full` of a core or more."""
        self.own = own
        self.processes: dict[Egress, asyncio.Task[None]] = {}
        self._network = network
        self._most = max(1, len(os.sched_getaffinity(0)) // 2) if most is None else most
        self._full = full
        self._telemetry = telemetry
        self._load = 0.0
        self._cpu_s, self._wall_s = time.process_time(), time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        self._look_around()

    def watching(self, name: str) -> int:
        """How many viewers a stream has by WebRTC."""
        return self.own.watching(name) + self.elsewhere(name)

    def elsewhere(self, name: str) -> int:
        """How many of them are in other processes."""
        return sum(egress.viewers[name] for egress in self.processes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts = scope["path"].strip("/").split("/")
        place = "/" + "/".join(parts)
        chosen = next((one for one in self.processes if place in one.sessions), None)
        name = None
        if parts[0] == "whep" and len(parts) == 2 and scope["method"] == "POST":
            chosen, name = self._choose(), parts[1]
        if chosen is None:
            await self.own(scope, receive, send)
            return
        try:
            await self._hand_on(chosen, scope, receive, send, name)
        except Refusal as refusal:
            await http.refuse(send, refusal)

    async def _hand_on(
        self, egress: Egress, scope: Scope, receive: Receive, send: Send, name: str | None
    ) -> None:
        """`name` is the stream that somebody wants to watch."""
        asked = Asked.of(scope)
        told = {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "headers": [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]],
            "address": asked.address,
            "body": await http.body(receive, MOST_BYTES),
        }
        if name is None:
            answer = await egress.ask(told)
        else:
            stream = await self.own.admitted(name, asked)
            if not self.own.crowd.enter(asked.address):
                raise Refusal(503, "too many sessions of this address", ("retry-after", "10"))
            answer = await self._begun(egress, told, stream)
        headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in answer["headers"]]
        status, body = answer["status"], answer["body"].encode()
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _begun(self, egress: Egress, told: Mapping[str, Any], stream: Any) -> dict[str, Any]:
        """The answer to an offer; its client is in the crowd until the session is over."""
        status = 0
        try:
            answer = await egress.ask(told, stream)
            status = answer["status"]
            return answer
        finally:
            if status != 201:
                self.own.crowd.leave(told["address"])

    # Which process.

    def _choose(self) -> Egress | None:
        """Where the next viewer goes; None: it stays here."""
        if self._load < self._full:
            return None
        ready = [one for one in self.processes if one.ready]
        found = min(ready, key=lambda one: (one.load, len(one.sessions)), default=None)
        if found is None or found.load > max(self._load, MOST):
            return None
        return found

    def _look(self) -> None:
        cpu_s, wall_s = time.process_time(), time.monotonic()
        now = (cpu_s - self._cpu_s) / (wall_s - self._wall_s)
        self._cpu_s, self._wall_s = cpu_s, wall_s
        self._load += SMOOTH * (now - self._load)
        self._telemetry.gauge("viewer_processes", "", len(self.processes))
        elsewhere = sum(len(egress.sessions) for egress in self.processes)
        self._telemetry.gauge("viewers_elsewhere", "", elsewhere)
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)
        self._look_around()

    def _look_around(self) -> None:
        """Start a process where all are busy, end one that nobody needs."""
        early = EARLY * self._full
        loads = [self._load, *(one.load if one.ready else 0.0 for one in self.processes)]
        if min(loads) >= early and len(self.processes) < self._most:
            egress = Egress(self._network, self._telemetry.count, self.own.crowd.leave)
            task = asyncio.create_task(egress.run())
            self.processes[egress] = task
            task.add_done_callback(lambda _: self.processes.pop(egress, None))
        elif self._load < early:
            for egress in self.processes:
                if not egress.sessions and time.monotonic() - egress.idle_since > REST_S:
                    egress.close()

    async def close(self) -> None:
        self._timer.cancel()
        tasks = tuple(self.processes.values())
        for egress in self.processes:
            egress.close()
        await asyncio.gather(self.own.close(), *tasks, return_exceptions=True)
