"""`ClusterHomes`: at which edges the streams of a cluster are, as one edge sees it: it claims those
whose publishers come here, and is told where those are that its viewers want.

    home = await homes.claim("live")    # a publisher is here; home.passport: where it was before
    if home.edge != homes.edge: ...     # a newer one came elsewhere meanwhile
    homes.carry("live", passport)       # what the next home needs, whenever that changes
    homes.leave("live")                 # it is over
    homes.seek("live", changed)         # changed(home), soon and at each change, until forget()

A home is the lease by which an edge pushes and records a stream. Its epoch fences: workers give
pictures to the newest home alone. An edge that stood still does not know whether it lost any, and
asks before it pushes again (`doubted`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from streamgen.control.coordinator.directory import EdgeRegistered
from streamgen.control.coordinator.homes import (
    Home,
    StreamClaimed,
    StreamLeft,
    StreamSought,
    StreamUnsought,
    check_passport,
)
from streamgen.control.coordinator.messages import FromCoordinator, ToCoordinator

PATIENCE_S = 2.0
"""Without a coordinator's word for so long a stream goes on alone."""
ASK_AGAIN_S = 1.0
"""What was not answered is asked again."""
ASLEEP_S = 5.0
"""After standing still for so long an edge asks whose its streams are: publishers do not wait."""
SAY_AGAIN = 30
"""After so many of those all is said again: a word may have been lost on the way."""
MOST_SOUGHT = 1_000
"""Beyond that, what is sought is nowhere."""
MOST_LEFT = 1_000
"""Streams of which it is remembered that they ended here."""
log = logging.getLogger("streamgen.edge.cluster")


@dataclass(slots=True)
class _Claim:
    """One stream whose publisher is here."""

    home: Home
    ask: str = ""
    """Not answered yet."""
    passport: str = ""
    held: bool = False
    """Somebody was told that it is ours."""
    waiting: int = 0
    doubted_s: float | None = None
    """Since when it may be another edge's; None: it is not in doubt."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Wish:
    """One stream that is sought."""

    changed: Callable[[Home], None]
    home: Home


class ClusterHomes:
    """On the edge's loop. `say` and `leads` are the peer's, once there is one."""

    def __init__(self, registered: EdgeRegistered) -> None:
        self.say: Callable[[ToCoordinator], None] = lambda event: None
        self.lost: Callable[[str, Home], None] = lambda stream, home: None
        """A stream that was ours is another edge's: a newer publisher is there. It publishes
        nothing more here, and is not left either."""
        self.renewed: Callable[[str, Home], None] = lambda stream, home: None
        """A stream of ours has a newer epoch: it had none, or a leader did not know it."""
        self.doubted: Callable[[str], None] = lambda stream: None
        """`sure` says another thing of a stream of ours than before."""
        self._registered = registered
        self._claims: dict[str, _Claim] = {}
        self._wishes: dict[str, _Wish] = {}
        self._left: dict[str, None] = {}

    @property
    def edge(self) -> str:
        """Our own name."""
        return self._registered.edge

    def ours(self, stream: str) -> Home | None:
        """As it is now, of a stream whose publisher is here; None: it is not ours."""
        claim = self._claims.get(stream)
        return claim.home if claim is not None and claim.held else None

    def sure(self, stream: str) -> bool:
        """Whether no other edge can have a stream of ours, as far as can be known here."""
        claim = self._claims.get(stream)
        return claim is None or claim.doubted_s is None

    def outdone(self, stream: str, epoch: int) -> None:
        """A worker has seen a home of this epoch. Where it is later than ours, it is another
        edge's, of which we are not told: no coordinator is heard here."""
        claim = self._claims.get(stream)
        if claim is not None and claim.held and not claim.ask and 0 < claim.home.epoch < epoch:
            self._lose(claim, Home(stream, "", epoch))

    # Publishers.

    async def claim(self, stream: str) -> Home:
        """For each publisher that comes. The home is ours, or that of a newer publisher elsewhere
        (`edge` tells). Epoch 0: nobody leads, and the stream goes on alone, at most until somebody
        does. `passport` is what the stream's last home said of it; empty: it is new."""
        claim = self._claims.get(stream)
        if claim is None:
            claim = self._claims[stream] = _Claim(self._own(stream))
        self._left.pop(stream, None)
        claim.ask = secrets.token_hex(8)
        claim.answered.clear()
        claim.waiting += 1
        self._say_claim(stream, claim)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await claim.answered.wait()
            claim.held = True
        except TimeoutError:
            log.warning("stream %s goes on alone: no coordinator says whose it is", stream)
            claim.held = True
        finally:
            claim.waiting -= 1
            if not (claim.held or claim.waiting) and self._claims.get(stream) is claim:
                self.leave(stream)  # its publisher went before there was an answer
        return claim.home

    def carry(self, stream: str, passport: str) -> None:
        """What another edge needs to go on with a stream of ours. Raises `ConfigError` where that
        is more than may be said."""
        check_passport(passport)
        claim = self._claims.get(stream)
        if claim is not None and claim.passport != passport:
            claim.passport = passport
            self._say_claim(stream, claim)

    def leave(self, stream: str) -> None:
        """A stream of ours is over, unless a publisher of that name is just coming."""
        claim = self._claims.get(stream)
        if claim is None:
            return
        claim.held, claim.passport = False, ""
        if claim.waiting:
            return
        del self._claims[stream]
        self._left[stream] = None
        while len(self._left) > MOST_LEFT:
            del self._left[next(iter(self._left))]
        self.say(StreamLeft(stream, self.edge, claim.home.epoch))

    # Viewers.

    def seek(self, stream: str, changed: Callable[[Home], None]) -> None:
        """Be told where a stream is, soon and at each change, until `forget`. `edge` is empty where
        nobody has it; it may be ours, too. One at a time for each stream."""
        if stream not in self._wishes and len(self._wishes) >= MOST_SOUGHT:
            asyncio.get_running_loop().call_soon(changed, Home(stream, "", 0))
            return
        self._wishes[stream] = _Wish(changed, Home(stream, "", -1))
        self.say(StreamSought(stream, self.edge))

    def forget(self, stream: str) -> None:
        """Nobody wants to see it any more."""
        if self._wishes.pop(stream, None) is not None:
            self.say(StreamUnsought(stream, self.edge))

    # `Peer`.

    def hello(self) -> tuple[ToCoordinator, ...]:
        """After `EdgeRegistered`, which means that all of it is said anew."""
        claims = (self._claimed(name, claim) for name, claim in self._claims.items())
        return (*claims, *(self._sought(name, wish) for name, wish in self._wishes.items()))

    def heard(self, command: FromCoordinator) -> None:
        if not isinstance(command, Home):
            return
        claim = self._claims.get(command.stream)
        if claim is not None:
            self._answered(command, claim)
        elif command.edge == self.edge and command.stream in self._left:
            self.say(StreamLeft(command.stream, self.edge, command.epoch))
            return
        self._seen(command)

    async def run(self) -> None:
        """Ask again, until cancelled."""
        loop, number = asyncio.get_running_loop(), 0
        while True:
            began_s = loop.time()
            await asyncio.sleep(ASK_AGAIN_S)
            number += 1
            self._doubt(loop.time(), asleep=loop.time() - began_s > ASLEEP_S)
            for name, claim in self._claims.items():
                if claim.ask or claim.doubted_s is not None or number % SAY_AGAIN == 0:
                    self._say_claim(name, claim)
            for name, wish in self._wishes.items():
                if wish.home.epoch < 0 or number % SAY_AGAIN == 0:
                    self.say(self._sought(name, wish))

    def _answered(self, home: Home, claim: _Claim) -> None:
        """Of what was said before our newest publisher came, nothing counts for it."""
        before = claim.home
        if (claim.ask and home.ask != claim.ask) or home.epoch < before.epoch or not home.edge:
            return
        if home.edge == before.edge:
            claim.home, claim.ask = replace(home, ask=""), ""
            claim.answered.set()
            self._trust(home.stream, claim)
            if claim.held and home.epoch > before.epoch:
                self.renewed(home.stream, claim.home)
        elif home.epoch > before.epoch:
            self._lose(claim, replace(home, ask=""))

    def _lose(self, claim: _Claim, home: Home) -> None:
        del self._claims[home.stream]
        claim.home = home
        claim.answered.set()
        if claim.held:
            where = home.edge or "another edge"
            log.warning("stream %s is at %s now: a newer publisher", home.stream, where)
            self.lost(home.stream, home)

    def _doubt(self, now_s: float, *, asleep: bool) -> None:
        """All that is ours, where we were asleep. Where nobody leads it is ours after a while."""
        for name, claim in list(self._claims.items()):
            if asleep and claim.held:
                fresh, claim.doubted_s = claim.doubted_s is None, now_s
                if fresh:
                    self.doubted(name)
            elif claim.doubted_s is not None and now_s - claim.doubted_s >= PATIENCE_S:
                self._trust(name, claim)

    def _trust(self, name: str, claim: _Claim) -> None:
        if claim.doubted_s is not None:
            claim.doubted_s = None
            self._say_claim(name, claim)
            self.doubted(name)

    def _seen(self, home: Home) -> None:
        wish = self._wishes.get(home.stream)
        if wish is None or (home.edge and home.epoch < wish.home.epoch):
            return
        if (
            home.edge == self.edge and home.stream not in self._claims
        ):  # before we were started anew
            home = replace(home, edge="", place="", public_key="")
        home = replace(home, ask="")
        if home != wish.home:
            wish.home = home
            wish.changed(home)

    def _own(self, stream: str) -> Home:
        registered = self._registered
        return Home(stream, self.edge, 0, registered.mirror, registered.mirror_key)

    def _claimed(self, stream: str, claim: _Claim) -> StreamClaimed:
        epoch = claim.home.epoch if claim.doubted_s is None else 0  # is always answered
        return StreamClaimed(stream, self.edge, epoch, claim.passport, claim.ask)

    def _say_claim(self, stream: str, claim: _Claim) -> None:
        self.say(self._claimed(stream, claim))

    def _sought(self, stream: str, wish: _Wish) -> StreamSought:
        return StreamSought(stream, self.edge, max(wish.home.epoch, 0))
