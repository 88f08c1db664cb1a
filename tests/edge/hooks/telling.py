"""A process that tells a service of some streams by a store, until it is killed. Run with the
store's URL, the service's, and the streams' names. It says when all of it is written."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from streamgen.control.store.late import LateStore
from streamgen.telemetry import Telemetry
from streamgen_edge.hooks.hooks import Hooks
from streamgen_edge.outbound.client import Client
from tests.control.store.writing import wall_ms
from tests.edge.hooks.scene import PUBLISHER, hook
from tests.edge.outbound.servers import HOME

WITHIN_S = 3.0
"""For one try, so that a claim takes no longer than a test may."""


async def main(url: str, service: str, *streams: str) -> None:
    async with LateStore(url, wall_ms) as store:
        hooks = Hooks(
            Client(HOME), Telemetry(), time.time_ns, waits_s=(1.0,) * 6, within_s=WITHIN_S
        )
        hooks.keep(store)
        hooks.use({"one": hook(service)})
        for stream in streams:
            hooks.began({"stream": stream, "session": "abcdef"}, PUBLISHER)
        outbox = (await store.opened()).outbox
        while (await outbox.backlog("one")).left < len(streams):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        os.write(1, b"written\n")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
