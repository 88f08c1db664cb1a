"""Hooks, with services that are as bad as they are told to be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("h11", reason="h11 is not installed")

from streamgen.telemetry import Telemetry
from streamgen_edge.hooks.event import EndReason
from streamgen_edge.hooks.hooks import Hooks
from streamgen_edge.hooks.settings import HookSettings
from streamgen_edge.outbound.client import Client
from streamgen_edge.outbound.settings import OutboundSettings
from streamgen_edge.store import LateStore
from tests.edge.outbound.servers import (
    HOME,
    Behave,
    Heard,
    Service,
    answers,
    serving,
)

SECRET = "whsec_c4nary8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRETS = (SECRET, "c4nary", "behind-the-host")
AT_S = 1_614_265_330
SOON = (0.01,) * 6
LATER = (300.0,) * 6
PUBLISHER = {
    "protocol": "rtmp",
    "address": "192.0.2.7",
    "tracks": [
        {"name": "audio/0", "codec": "aac", "width": 0, "height": 0},
        {"name": "video/0", "codec": "h264", "width": 1280, "height": 720},
    ],
}


@dataclass
class Pictures:
    frames_in: int = 10
    frames_out: int = 9
    dropped: dict[str, int] = field(default_factory=lambda: {"late": 1})


@dataclass
class Session:
    """A session that is over."""

    ids: dict[str, str]
    reason: EndReason = EndReason.PUBLISHER
    error: str = ""
    ledger: Pictures = field(default_factory=Pictures)
    telemetry: Telemetry = field(default_factory=Telemetry)


class Scene:
    """Hooks, and what they say of themselves."""

    def __init__(
        self,
        waits_s: Sequence[float],
        outbound: OutboundSettings,
        at_s: float = AT_S,
        store: LateStore | None = None,
    ) -> None:
        self.telemetry = Telemetry()
        unix_ns = int(at_s) * 1_000_000_000 + 250_000_000
        self.hooks = Hooks(Client(outbound), self.telemetry, lambda: unix_ns, waits_s=waits_s)
        if store is not None:
            self.hooks.keep(store)

    def use(self, **services: Service | str) -> None:
        self.hooks.use({name: hook(one) for name, one in services.items()})

    def begin(self, stream: str = "cam") -> None:
        self.hooks.began({"stream": stream, "session": "abcdef"}, PUBLISHER)

    def end(self, stream: str = "cam", **more: Any) -> None:
        self.hooks.ended(Session({"stream": stream, "session": "abcdef"}, **more))

    def facts(self, name: str = "one") -> dict[str, Any]:
        return next(row for row in self.hooks.facts() if row["name"] == name)

    def counted(self, what: str, name: str = "one") -> int:
        """As metrics and the API have it."""
        number = self.telemetry.counts(f"hook_{what}").get(name, 0)
        assert self.facts(name)[what] == number
        return number


def hook(service: Service | str, **more: Any) -> HookSettings:
    url = service if isinstance(service, str) else service.url
    return HookSettings(url=url, secret=SECRET, **more)


@asynccontextmanager
async def scene(
    behave: Behave,
    *,
    waits_s: Sequence[float] = SOON,
    outbound: OutboundSettings = HOME,
    at_s: float = AT_S,
    store: LateStore | None = None,
) -> AsyncIterator[tuple[Scene, Service]]:
    """Hooks with one service."""
    async with serving(behave) as service:
        made = Scene(waits_s, outbound, at_s, store)
        made.use(one=service)
        try:
            yield made, service
        finally:
            await made.hooks.finished(0.0)


def bodies(service: Service) -> list[dict[str, Any]]:
    return [json.loads(heard.body) for heard in service.heard]


def kinds(service: Service) -> list[tuple[str, str]]:
    return [(one["stream"], one["event"]) for one in bodies(service)]


def to(*locations: str, status: int = 307) -> Behave:
    """Redirects, one after the other; the last one for ever."""
    rest = list(locations)

    async def behave(
        heard: Heard, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there = rest.pop(0) if len(rest) > 1 else rest[0]
        await answers(status, headers=f"location: {there}\r\n")(heard, reader, writer)

    return behave
