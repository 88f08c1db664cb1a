"""`PageApp`: the control page as a plain ASGI application: its own files, and the look that it
shares with the page of a cluster.

    /page/hls.mjs      hls.js as published, where `make setup` could fetch it; else a module that
                       says so
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from streamgen.control.api.pages import Pages, Receive, Scope, Send, look

PLAYER = "/page/hls.mjs"
DEVICES = b"camera=(self), microphone=(self), display-capture=(self), geolocation=()"


class PageApp:
    """Serves what lies beside this module; any loop."""

    def __init__(self) -> None:
        none = {PLAYER: b"export default null;\n"}
        self._pages = Pages([*_ours(), *look()], none, permissions=DEVICES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._pages(scope, receive, send)


def _ours() -> list[Traversable]:
    own = files(__package__)
    fetched = own / "vendor"
    return [*own.iterdir(), *(fetched.iterdir() if fetched.is_dir() else ())]
