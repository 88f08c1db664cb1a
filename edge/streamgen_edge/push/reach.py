"""The way to a target by TCP and TLS, with limits to how long it may hang."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from contextlib import ExitStack

from streamgen_edge.outbound.url import Url
from streamgen_edge.push.target import Failure

CONNECTS_S = 2.5
"""For one address, TLS included. A host that is back is found by the next try: TCP by itself would
wait for ever longer."""
HEARS_S = 1.0
"""A target that has not said a word by then is tried by one connection more."""
SEND_BUFFER = 512 << 10
"""Bytes that the kernel may hold for a slow target; by itself it takes megabytes, all of them old
when they arrive."""
UNHEARD_MS = 10_000
"""What was sent and is not acknowledged after so long never will be."""


async def connected(
    target: Url, addresses: Sequence[str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """By the first address that answers. Raises `Failure`."""
    tls = None
    if target.secure:
        tls = ssl.create_default_context()
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
    failure = Failure("the target has no address")
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECTS_S):
                reader, writer = await asyncio.open_connection(
                    address, target.port, ssl=tls, server_hostname=target.host if tls else None
                )
        except ssl.SSLCertVerificationError:
            failure = Failure("the target's certificate is not valid for its name", refused=True)
        except OSError as error:  # or not in time: `TimeoutError` is one
            failure = Failure(why(error))
        else:
            _bound(writer.get_extra_info("socket"))
            return reader, writer
    raise failure


async def greeted(
    target: Url, addresses: Sequence[str], hello: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    """`connected`, and the first byte of the answer to a hello, after which nothing has begun yet.

    Of several connections the first that is answered: what a server had been told before it hung
    is often answered by nobody, such as by a proxy whose server is another one now. Raises
    `Failure`.
    """
    asked: set[asyncio.Task[tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]]] = set()
    try:
        while True:
            asked.add(asyncio.create_task(_greeted(target, addresses, hello)))
            first = asyncio.FIRST_COMPLETED
            done, _ = await asyncio.wait(asked, timeout=HEARS_S, return_when=first)
            if done:
                found = done.pop()
                asked.remove(found)
                return found.result()
    finally:
        for late in asked:
            if not late.cancel() and late.exception() is None:
                late.result()[1].transport.abort()


async def _greeted(
    target: Url, addresses: Sequence[str], hello: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    reader, writer = await connected(target, addresses)
    with ExitStack() as failing:
        failing.callback(writer.transport.abort)
        writer.write(hello)
        try:
            word = await reader.readexactly(1)
        except (asyncio.IncompleteReadError, OSError):
            raise Failure("the target closed the connection") from None
        failing.pop_all()
    return reader, writer, word


def _bound(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS)


def why(error: OSError) -> str:
    """For people; nothing that the target wrote."""
    match error:
        case ConnectionRefusedError():
            return "the target refuses connections"
        case ConnectionResetError() | BrokenPipeError():
            return "the target broke the connection"
        case TimeoutError():
            return "the target does not answer"
        case ssl.SSLError():
            return "no TLS with the target"
    if error.errno:
        return f"the target cannot be reached: {os.strerror(error.errno)}"
    return "the target cannot be reached"
