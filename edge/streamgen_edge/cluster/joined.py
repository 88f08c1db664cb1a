"""`Joined`: an edge's place in a cluster, as configured: its seats, homes and questions, and the
peer that runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from streamgen.control.coordinator.directory import EdgeRegistered
from streamgen.control.coordinator.messages import FromCoordinator
from streamgen.control.coordinator.peer import Peer
from streamgen.control.coordinator.questions import Told
from streamgen.control.keys import public_key, read_key
from streamgen.control.placement.profiles import Profiles
from streamgen.control.wire import Place
from streamgen.errors import ConfigError
from streamgen_edge.cluster.homes import ClusterHomes
from streamgen_edge.cluster.questions import Questions
from streamgen_edge.cluster.seats import ClusterSeats
from streamgen_edge.cluster.settings import ClusterSettings
from streamgen_edge.link import Link
from streamgen_edge.settings import Server

log = logging.getLogger("streamgen.edge.cluster")


class Joined:
    """Made before anything listens: it raises `ConfigError` for what cannot be."""

    def __init__(self, settings: ClusterSettings, server: Server, folder: Path | None) -> None:
        self.profiles = Profiles.of(settings.profiles)
        self.settings = settings
        self.registered = _registered(settings, server, folder)
        self.homes = ClusterHomes(self.registered)
        self.questions = Questions()

    @asynccontextmanager
    async def seats(self, link: Link) -> AsyncIterator[ClusterSeats]:
        """Those of this link, as long as the block runs."""
        settings, homes, questions = self.settings, self.homes, self.questions
        seats = ClusterSeats(link, self.registered)

        def heard(command: FromCoordinator) -> None:
            if isinstance(command, Told):
                questions.heard(command)
            seats.heard(command)
            homes.heard(command)

        peer = Peer(
            settings.name,
            kind="edge",
            places=settings.coordinators,
            key=None if settings.key is None else read_key(settings.key),
            coordinator_key=(
                None if settings.coordinator_key is None else public_key(settings.coordinator_key)
            ),
            heard=heard,
            hello=lambda: (*seats.hello(), *homes.hello()),
        )
        seats.say, seats.now_ms, seats.leads = peer.say, peer.now_ms, lambda: peer.leader
        homes.say = questions.say = peer.say
        questions.leads, questions.now_ms = seats.leads, seats.now_ms
        link.elsewhere = lambda: seats.led
        seats.home = lambda name: 0 if (home := homes.ours(name)) is None else home.epoch
        tasks = [asyncio.create_task(one) for one in (peer.run(), homes.run())]
        for task in tasks:
            task.add_done_callback(lambda task: _stopped(task, link))
        seats.outdone = homes.outdone
        homes.renewed = lambda stream, home: seats.want_again(stream)
        try:
            yield seats
        finally:
            seats.goodbye()
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _stopped(task: asyncio.Task[None], link: Link) -> None:
    """It does not end by itself: without it new streams would wait for ever."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the wire to the coordinators broke", exc_info=error)
        link.broken.set()


def _registered(settings: ClusterSettings, server: Server, folder: Path | None) -> EdgeRegistered:
    """How the others find us: workers our link, edges our streams."""
    if server.link is not None:
        place = Place.at(settings.link or server.link.listen).media
        link = place, read_key(server.link.key).public.hex()
    elif folder is not None:
        link = str(folder.absolute()), ""
    else:
        raise ConfigError("cluster: workers need a way here: give --link FOLDER, or link")
    mirror = "", ""
    if settings.mirror is not None and settings.key is not None:
        mirror = Place.at(settings.mirror).media, read_key(settings.key).public.hex()
    elif folder is not None and not settings.between_machines:
        mirror = str(folder.absolute()), ""  # on another machine it would be anybody's
    else:
        log.warning("other edges cannot show what is published here: cluster.mirror is not set")
    return EdgeRegistered(settings.name, *link, *mirror)
