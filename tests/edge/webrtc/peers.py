"""aiortc as a viewer and as a publisher, on loopback, which it would leave out by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from streamgen_edge.webrtc.stack import use_network
from streamgen_edge.webrtc.whep import preferred
from tests.edge.webrtc.serving import network
from tests.edge.webrtc.studio import Answer, ask

Post = Callable[[str, str], Awaitable[Answer]]


def posting(app: Any) -> Post:
    return lambda path, text: ask(app, "POST", path, text)


class Watching:
    """A viewer; `tracks` by kind."""

    def __init__(self, *kinds: str) -> None:
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.tracks: dict[str, Any] = {}
        self.answer: Any = None
        for kind in kinds or ("video", "audio"):
            self.peer.addTransceiver(kind, direction="recvonly")
        self.peer.on("track", lambda track: self.tracks.__setitem__(track.kind, track))

    async def start(self, post: Post, path: str) -> Watching:
        use_network(self.peer, network())
        await self.peer.setLocalDescription(await self.peer.createOffer())
        self.answer = await post(path, self.peer.localDescription.sdp)
        if self.answer.status == 201:
            text = RTCSessionDescription(self.answer.text, "answer")
            await self.peer.setRemoteDescription(text)
        return self

    async def frame(self, kind: str = "video", seconds: float = 20.0) -> Any:
        return await asyncio.wait_for(self.tracks[kind].recv(), seconds)

    async def frames(self, number: int, kind: str = "video") -> list[Any]:
        return [await self.frame(kind) for _ in range(number)]

    @property
    def place(self) -> str:
        return str(self.answer.headers["location"])


async def publish(
    post: Post, path: str, *tracks: Any, codec: str = ""
) -> tuple[RTCPeerConnection, Answer]:
    """`codec`: the only one of the picture that is offered."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for track in tracks:
        peer.addTrack(track)
    for line in peer.getTransceivers():
        line.direction = "sendonly"
        if codec and line.kind == "video":
            line.setCodecPreferences(preferred("video", codec, "rtx"))
    use_network(peer, network())
    await peer.setLocalDescription(await peer.createOffer())
    answer = await post(path, peer.localDescription.sdp)
    if answer.status == 201:
        await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    return peer, answer


def looped(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on a loop of its own."""

    @wraps(test)
    def run(*args: Any, **values: Any) -> None:
        async def inner() -> None:
            await test(*args, **values)

        asyncio.run(inner())

    return run
