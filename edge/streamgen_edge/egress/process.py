"""What an egress process does: sessions of WHEP viewers, whose streams come from the edge.

    python -m streamgen_edge.egress.process        standard input is its socket to the edge

It ends when the edge closes that.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import time
from collections.abc import Mapping, MutableMapping
from typing import Any

from uvicorn.loops.auto import auto_loop_factory

from streamgen.control.logs import log_as_json
from streamgen.media.envelope import Envelope
from streamgen_edge.descriptors import take_descriptors
from streamgen_edge.egress import wire
from streamgen_edge.egress.relayed import Relayed
from streamgen_edge.rtmp.publisher import Publisher, Refused, Sink
from streamgen_edge.webrtc.app import WebRtcApp
from streamgen_edge.webrtc.network import Network

TELL_S = 0.25


class Relay:
    """Implements `webrtc.app.Streams`. Who may watch, the edge has said already."""

    def __init__(self, writer: asyncio.StreamWriter, order: Mapping[str, Any]) -> None:
        self._writer = writer
        self._streams: dict[int, Relayed] = {}
        self._named: dict[str, Relayed] = {}
        network = Network(**order["network"], wall_s=time.time)
        self.app = WebRtcApp(self, network, count=self._count)
        self._told: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cpu_s, self._wall_s = time.process_time(), time.monotonic()

    # `webrtc.app.Streams`.

    async def find(self, name: str, /) -> Relayed | None:
        return self._named.get(name)

    async def may_play(self, viewer: Any, /) -> int | None:
        return None

    async def publish(self, publisher: Publisher, /) -> Sink:
        raise Refused("nobody publishes here")

    # The edge.

    def say(self, told: Mapping[str, Any]) -> None:
        self._writer.write(wire.message(told))

    def _count(self, name: str, reason: str) -> None:
        self.say({"count": name, "reason": reason})

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Until the edge is gone."""
        telling = asyncio.create_task(self._tell())
        self.say({"ready": True})
        try:
            async for heard in wire.heard(reader):
                if isinstance(heard, Envelope):
                    found = self._streams.get(heard.stream)
                    if found is not None:
                        found.put(heard.packet, heard.track)
                else:
                    self._heard(heard)
        finally:
            telling.cancel()
            await self.app.close()

    def _heard(self, told: dict[str, Any]) -> None:
        if "ask" in told:
            stream = told.get("stream")
            if stream is not None and stream["number"] not in self._streams:
                found = Relayed(stream, self.say)
                self._streams[found.number] = self._named[found.name] = found
            task = asyncio.create_task(self._asked(told))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif "resting" in told and told["resting"] in self._streams:
            self._streams[told["resting"]].resting = frozenset(told["rungs"])
        elif "over" in told:
            gone = self._streams.pop(told["over"], None)
            if gone is not None:
                gone.end()
                if self._named.get(gone.name) is gone:
                    del self._named[gone.name]

    async def _asked(self, told: dict[str, Any]) -> None:
        """One request, as the edge would have answered it."""
        scope = {
            "type": "http",
            "method": told["method"],
            "path": told["path"],
            "query_string": told["query"].encode("latin-1"),
            "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in told["headers"]],
            "client": (told["address"], 0),
        }
        body = told["body"].encode()
        answer: dict[str, Any] = {"answer": told["ask"], "status": 500, "headers": [], "body": ""}

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(part: MutableMapping[str, Any]) -> None:
            if part["type"] == "http.response.start":
                answer["status"] = part["status"]
                headers = ((k.decode("latin-1"), v.decode("latin-1")) for k, v in part["headers"])
                answer["headers"] = list(headers)
            else:
                answer["body"] += part.get("body", b"").decode()

        try:
            await self.app(scope, receive, send)
        finally:
            if answer["status"] == 201:
                self._told.add(wire.place(answer))
            self.say(answer)

    async def _tell(self) -> None:
        """Sessions that are gone, and how busy this process is."""
        while True:
            await asyncio.sleep(TELL_S)
            gone = self._told - set(self.app.sessions)
            self._told -= gone
            cpu_s, wall_s = time.process_time(), time.monotonic()
            load = (cpu_s - self._cpu_s) / (wall_s - self._wall_s)
            self._cpu_s, self._wall_s = cpu_s, wall_s
            self.say({"load": load, "gone": sorted(gone)})


async def main() -> None:
    reader, writer = await asyncio.open_connection(
        sock=socket.socket(fileno=sys.stdin.fileno()), limit=wire.READ_AHEAD
    )
    async for order in wire.heard(reader):
        assert isinstance(order, dict)
        await Relay(writer, order).serve(reader)
        return


if __name__ == "__main__":
    log_as_json()
    take_descriptors()
    gc.freeze()
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        runner.run(main())
