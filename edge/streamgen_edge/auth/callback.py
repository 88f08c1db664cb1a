"""`Callback`: another service is asked who may publish and play. No answer is a no."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NoReturn, Protocol

from streamgen_edge.auth.asking import Asking, Scope, Undecided
from streamgen_edge.auth.settings import CallbackSettings
from streamgen_edge.crowd import customer
from streamgen_edge.outbound.client import Client
from streamgen_edge.outbound.once import Once
from streamgen_edge.outbound.resolving import OutboundError
from streamgen_edge.outbound.signing import signed
from streamgen_edge.outbound.url import Url

WITHIN_S = 2.0
"""For all of it, waiting for others included."""
AT_ONCE = 32
MOST_WAITING = 512
"""Questions on their way; who comes beyond them is told to come later."""
AT_ONCE_OF_ADDRESS, MOST_OF_ADDRESS = 8, 128
"""Of these, about one address: it cannot keep the others from being asked about."""
MOST_KEPT = 4096
"""Viewers who were let in just now."""
SAY_AGAIN_S = 10.0
NO = frozenset({401, 403})
log = logging.getLogger("streamgen.edge.auth")


class Counting(Protocol):
    def count(self, name: str, reason: str = "", number: int = 1) -> None: ...


@dataclass(slots=True)
class _Origin:
    """The questions about one address."""

    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE_OF_ADDRESS))
    waiting: int = 0


class Callback:
    """On the loop's thread."""

    def __init__(
        self,
        settings: CallbackSettings,
        client: Client,
        telemetry: Counting,
        *,
        clock_s: Callable[[], float],
        wall_s: Callable[[], float],
    ) -> None:
        """`wall_s` is the clock on the wall."""
        self._settings = settings
        self._url = Url.of(settings.url)
        self._client = client
        self._count = telemetry.count
        self._clock_s = clock_s
        self._wall_s = wall_s
        self._once: Once[bytes, bool] = Once()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._origins: dict[str, _Origin] = {}
        self._kept: OrderedDict[bytes, float] = OrderedDict()
        """By question, until when the yes counts."""
        self._said_s = float("-inf")
        self._unsaid = 0

    async def allows(self, asking: Asking) -> bool:
        """Raises `Undecided` where the service does not say."""
        body = _question(asking)
        key = sha256(body).digest()
        if self._kept.get(key, float("-inf")) > self._clock_s():
            return True
        name = customer(asking.address or "")
        origin = self._origins.get(name)
        if len(self._once) >= MOST_WAITING:
            self._fail("too many wait for it")
        if origin is not None and origin.waiting >= MOST_OF_ADDRESS:
            self._fail("too many of one address wait for it")
        return await self._once.ask(key, lambda: self._queued(asking.scope, name, key, body))

    def _queued(
        self, scope: Scope, name: str, key: bytes, body: bytes
    ) -> Coroutine[Any, Any, bool]:
        """Counted from here on, before it runs."""
        origin = self._origins.setdefault(name, _Origin())
        origin.waiting += 1

        async def asked() -> bool:
            try:
                return await self._ask(scope, origin, key, body)
            finally:
                origin.waiting -= 1
                if not origin.waiting:
                    del self._origins[name]

        return asked()

    async def _ask(self, scope: Scope, origin: _Origin, key: bytes, body: bytes) -> bool:
        try:
            async with asyncio.timeout(WITHIN_S), origin.free, self._free:
                status = await self._posted(body)
        except TimeoutError:
            self._fail(f"{self._url.host}: no answer within {WITHIN_S:g} s")
        except OutboundError as error:
            self._fail(str(error))
        if status in NO:
            self._count("callback", "refused")
            return False
        if not 200 <= status < 300:
            self._fail(f"{self._url.host}: the status of its answer is {status}")
        self._count("callback", "allowed")
        if scope is Scope.PLAY:
            self._keep(key)
        return True

    async def _posted(self, body: bytes) -> int:
        id, now = f"ask_{secrets.token_urlsafe(16)}", int(self._wall_s())
        headers = signed(self._settings.secret, id, now, body)
        return await self._client.post(self._url, body, headers, within_s=WITHIN_S)

    def _keep(self, key: bytes) -> None:
        self._kept[key] = self._clock_s() + self._settings.keep / 1e9
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    def _fail(self, reason: str) -> NoReturn:
        """Raises `Undecided`. The log hears of it now and then, with the number."""
        self._count("callback", "failed")
        self._unsaid += 1
        now = self._clock_s()
        if now - self._said_s >= SAY_AGAIN_S:
            log.error("auth.callback did not say who may come in: %s (%d)", reason, self._unsaid)
            self._said_s, self._unsaid = now, 0
        raise Undecided(reason)


def _question(asking: Asking) -> bytes:
    told = {
        "action": asking.scope.value,
        "stream": asking.stream,
        "protocol": asking.protocol,
        "address": asking.address,
        "token": asking.token,
    }
    return json.dumps(told).encode()
