"""The application behind a real HTTP server on a loop of its own, for clients that block."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import uvicorn

from streamgen_edge.webrtc.app import WebRtcApp
from streamgen_edge.webrtc.network import Network
from tests.edge.webrtc.proxy import Proxy
from tests.edge.webrtc.studio import Hub, Studio, ask

T = TypeVar("T")
PAGE = b"<!doctype html><video id=v autoplay playsinline></video><canvas id=c></canvas>"


def network(**changes: Any) -> Network:
    return Network(**{"wall_s": time.time, **changes})


class Served:
    """`with Served(lambda: [Studio(..)]) as served`: HTTP on `port`, the hub as `hub`."""

    def __init__(
        self, shows: Callable[[], list[Studio]] = list, *, hub: type[Hub] = Hub, **changes: Any
    ) -> None:
        self._make = shows
        self._hub = hub
        self._changes = changes
        self._ready = threading.Event()
        self.proxies: dict[str, Proxy] = {}
        self.hub: Any = None
        self.app: Any = None
        self.loop: Any = None
        self.port = 0

    def __enter__(self) -> Served:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        shows = self._make()
        self.hub = self._hub(*shows)
        self.app = WebRtcApp(self.hub, network(**self._changes))

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/":
                head = [(b"content-type", b"text/html")]
                await send({"type": "http.response.start", "status": 200, "headers": head})
                await send({"type": "http.response.body", "body": PAGE})
            elif scope["path"].startswith("/through/"):
                await self._through(scope, receive, send)
            else:
                await self.app(scope, receive, send)

        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", ws="none"
        )
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as door:
            self.port = door.getsockname()[1]
            serving = asyncio.create_task(server.serve(sockets=[door]))
            self._ready.set()
            await self._stop.wait()
            await self.app.close()
            for proxy in self.proxies.values():
                proxy.close()
            server.should_exit = True
            await serving
        for show in shows:
            await asyncio.to_thread(show.stop)

    async def _through(self, scope: Any, receive: Any, send: Any) -> None:
        """`/through/NAME/..`: the same by the proxy of this name. A way that is cut stays cut
        for who comes again."""
        _, _, name, path = scope["path"].split("/", 3)
        proxy = Proxy()
        if (before := self.proxies.get(name)) is not None:
            proxy.cut = before.cut
            before.close()
        self.proxies[name] = proxy
        text = (await receive())["body"].decode()
        asked = f"/{path}?{scope['query_string'].decode()}"
        answer = await proxy.through(await ask(self.app, "POST", asked, text))
        head = [(key.encode(), value.encode()) for key, value in answer.headers.items()]
        head = [one for one in head if one[0] != b"content-length"]
        await send({"type": "http.response.start", "status": answer.status, "headers": head})
        await send({"type": "http.response.body", "body": answer.text.encode()})

    def do(self, what: Callable[[], Awaitable[T]], seconds: float = 20) -> T:
        """Run it on the server's loop."""

        async def run() -> T:
            return await what()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(seconds)

    def until(self, holds: Callable[[], Any], what: str, seconds: float = 15.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := holds():
                return found
            time.sleep(0.02)
        raise AssertionError(f"no {what} within {seconds} s")
