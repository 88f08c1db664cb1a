"""`Reloading`: the configuration read again while the server runs. Nobody is dropped."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from streamgen.errors import ConfigError
from streamgen_edge.configuring import refuse_unusable
from streamgen_edge.link import Link, guest_keys
from streamgen_edge.publishing import Streams
from streamgen_edge.settings import Server, load_server, restart_needed
from streamgen_edge.web import Web

log = logging.getLogger("streamgen.edge")


class Reloading:
    """Keys, streams and certificates as the files say now, each time that it is `asked`.

    What is wrong changes nothing, and the log says what it is.
    """

    def __init__(
        self,
        config: Path | None,
        streams: Streams,
        link: Link,
        web: Web,
        rtmps: ssl.SSLContext | None,
    ) -> None:
        self.asked = asyncio.Event()
        self._config = config
        self._streams = streams
        self._link = link
        self._web = web
        self._rtmps = rtmps
        self._started = streams.server

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.asked.wait()
            self.asked.clear()
            try:
                await self._again()
            except (ConfigError, OSError) as error:  # a file, too, that is there no more
                log.error("the configuration stays as it was: %s", error)

    async def _again(self) -> None:
        server = load_server(self._config)
        refuse_unusable(server)
        later = restart_needed(self._started, server)
        if later:
            log.warning("not before the server starts again: %s", ", ".join(later))
        await self._certify(server)
        if server.link is not None:
            self._link.admit(guest_keys(server.link))
        self._streams.use(server)
        log.info("the configuration was read again")

    async def _certify(self, server: Server) -> None:
        """Connections that are there go on with the certificate they began with."""
        if self._started.http.tls is not None and server.http.tls is not None:
            await self._web.renew(server.http.tls.cert, server.http.tls.key)
        if self._rtmps is not None and server.rtmp.tls is not None:
            self._rtmps.load_cert_chain(server.rtmp.tls.cert, server.rtmp.tls.key)
