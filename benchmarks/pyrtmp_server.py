"""The RTMP server of PyPI's `pyrtmp`, measured as ours is: run by `rtmp.py` with its own Python.

Prints its port, then for each publisher one JSON line: bytes of media and CPU seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
from typing import Any

from pyrtmp.rtmp import SimpleRTMPController


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Meter(SimpleRTMPController):
    """Counts what it is given, and its own CPU from the first picture to the end."""

    def __init__(self) -> None:
        self.bytes = self.messages = 0
        self.began = 0.0

    async def on_video_message(self, session: Any, message: Any) -> None:
        self.count(message)

    async def on_audio_message(self, session: Any, message: Any) -> None:
        self.count(message)

    def count(self, message: Any) -> None:
        if not self.messages:
            self.began = cpu_s()
        self.messages += 1
        self.bytes += len(message.payload)

    async def cleanup(self, session: Any) -> None:
        row = {"bytes": self.bytes, "messages": self.messages, "cpu_s": cpu_s() - self.began}
        print(json.dumps(row), flush=True)
        self.bytes = self.messages = 0


async def main() -> None:
    logging.disable(logging.CRITICAL)
    server = await asyncio.start_server(Meter().client_callback, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
