"""The process of a push, whose target or name server is bad again and again."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

import pytest

from streamgen_edge.outbound import resolving
from streamgen_edge.push import sender
from streamgen_edge.push.rtmp import opened
from streamgen_edge.push.sender import Sender
from streamgen_edge.push.target import Failure
from tests.edge.push.show import recorded
from tests.edge.push.test_rtmp import KEY, TAKES, Scripted, order, target
from tests.edge.rtmp.peer import until
from tests.edge.webrtc.peers import looped

RESETS = 4
ENOUGH = 20_000
"""Bytes of the stream before each reset."""


def test_a_name_that_nobody_resolves_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hanging(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(3600)
        return []

    monkeypatch.setattr(resolving, "ask_system", hanging)
    monkeypatch.setattr(sender, "RESOLVES_S", 0.05)

    @looped
    async def run() -> None:
        with pytest.raises(Failure, match="name takes too long") as failed:
            await asyncio.wait_for(opened(order(f"rtmp://slow.example/live/{KEY}")), 20)
        assert not failed.value.refused and KEY not in str(failed.value)

    run()


def test_a_target_that_resets_again_and_again_has_the_stream_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[dict[str, object]] = []
    monkeypatch.setattr(sender, "say", lambda **values: said.append(values))
    resets = 0

    async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal resets
        server = Scripted(TAKES)
        talk = asyncio.ensure_future(server(reader, writer))
        await until(lambda: any(one[0] == "publish" for one in server.heard))
        talk.cancel()
        with suppress(asyncio.CancelledError):
            await talk
        await reader.readexactly(ENOUGH)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        resets += 1

    @looped
    async def run() -> None:
        async with target(resetting) as port:
            one = Sender(order(f"rtmp://127.0.0.1:{port}/live/{KEY}"), opened)
            trying = asyncio.create_task(one.try_on())
            while resets < RESETS:
                for packet in recorded()[1][:200]:
                    if (sent := one.take([packet])) is not None:
                        await sent
                await asyncio.sleep(0.01)
            trying.cancel()
            with suppress(asyncio.CancelledError):
                await trying

    run()
    states = [one["state"] for one in said if "state" in one]
    assert states[:6] == ["connecting", "live", "waiting"] * 2
    reasons = {one["reason"] for one in said if one.get("state") == "waiting"}
    assert reasons <= {"the target broke the connection", "the target closed the connection"}
    assert all(float(str(one["wait_s"])) < 2 for one in said if "wait_s" in one)
