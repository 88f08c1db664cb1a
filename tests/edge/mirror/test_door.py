"""Who may come to an edge for its streams, and what becomes of nonsense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio

from streamgen.control.guests import Guests
from streamgen.control.keys import new_key
from streamgen.control.wire import encoded
from streamgen.errors import ConfigError
from streamgen.telemetry import Telemetry
from streamgen_edge.mirror.mirrors import address
from tests.edge.webrtc.peers import looped
from tests.ports import free_port

from .edges import TOP, Tape, home, other, same, until


@looped
async def test_at_a_port_only_edges_with_a_known_key_come_in(taped: Tape, tmp_path: Path) -> None:
    keys = [new_key(tmp_path / f"{name}.key") for name in ("a", "b", "c")]
    own = Telemetry()
    door = {
        "at": f"tcp://127.0.0.1:{free_port(2)}",
        "key": keys[0],
        "guests": Guests([keys[1].public], own),
    }
    async with (
        home(tmp_path / "a", *taped, **door) as one,
        other(tmp_path / "b", key=keys[1]) as friend,
        other(tmp_path / "c", key=keys[2]) as stranger,
    ):
        one.begin()
        one.send(3)
        for edge in (friend, stranger):
            edge.word.moved(one)
        await same(one, friend)
        assert (await stranger.get(TOP)).status == 404
        assert own.counts("link_refused")["unknown_key"] > 0
        assert len(one.door.guests) == 1
        with pytest.raises(ConfigError, match="other edges cannot come in"):
            async with home(tmp_path / "d", *taped, **door):
                pass


@looped
async def test_nonsense_harms_nobody(taped: Tape, tmp_path: Path) -> None:
    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        one.begin()
        one.send(2)
        two.word.moved(one)
        await same(one, two)
        context: Any = zmq.asyncio.Context()
        bad = context.socket(zmq.DEALER)
        bad.connect(address(one.place))
        want = {"type": "want", "sub": 1, "stream": "cam"}
        parts = want | {"what": "parts", "track": "180p"}
        await bad.send(b"\xff\x00")
        await bad.send(encoded(parts))  # without a hello
        await bad.send(encoded({"type": "hello"}))
        for message in (
            want,
            want | {"what": "everything"},
            parts | {"session": "s" * 22, "has": ["x"]},
            parts | {"session": "s" * 22, "has": [1, -1, 0]},
            parts | {"sub": 2, "session": "s" * 22, "has": [99, 2, 0]},
            parts | {"sub": 4, "track": "8k"},
            want | {"what": "ladder", "sub": 5},
            want | {"what": "packets", "sub": 3, "track": "video/8k"},
            {"type": "had", "sub": 2, "bytes": -5, "messages": 10**12},
            {"type": "unwant"},
            {"type": "ask", "ask": 1},
        ):
            await bad.send(encoded(message))
        await until(lambda: one.wants.count("parts 180p") == 2 or len(one.door.guests) == 2)
        one.send(4)
        await same(one, two)
        bad.close(0)
        context.term()
