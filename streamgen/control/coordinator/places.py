"""Where coordinators listen, and how sockets to and from there are set up.

Of one machine in a folder that only their user can enter, between machines at a TCP port with keys
(`control/keys.py`). There are no ports without keys, on the loopback neither: every user of the
machine could come in there.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Literal

import zmq

from streamgen.control.coordinator.messages import LONGEST_NAME
from streamgen.control.keys import LinkKey
from streamgen.control.wire import MOST_CONTROL_BYTES, prepare, prove
from streamgen.errors import ConfigError
from streamgen.media.envelope import LinkError

Kind = Literal["worker", "edge"]
ALIVE_S = 0.5
"""Peers say that they live."""
BEAT_S = 1.0
"""Coordinators say so."""
DEAD_S = 3.0
"""Who was silent for so long is gone."""
_TCP = re.compile(r"(?:tcp://)?((?:\[[0-9a-fA-F:]+\]|[^:\[\]/\s]+):(\d{1,5}))")
_LETTERS: dict[Kind, str] = {"worker": "w", "edge": "e"}
_KINDS: dict[str, Kind] = {"w": "worker", "e": "edge"}


def address(place: str) -> str:
    """Of the socket: `host:port`, with or without `tcp://`, or the path of a folder.

    Raises `ConfigError`.
    """
    match = _TCP.fullmatch(place)
    if match is not None and 0 < int(match[2]) < 65536:
        return f"tcp://{match[1]}"
    if match is None and place.startswith(("/", "./", "../")):
        return f"ipc://{place.rstrip('/')}/coordinator"
    raise ConfigError(f"not where a coordinator is: '{place}' (write 10.0.0.5:7100, or /a/folder)")


def keyed(place: str) -> bool:
    """Others can reach it: nobody talks there without keys."""
    return address(place).startswith("tcp:")


def identity(kind: Kind, name: str) -> bytes:
    """Of one connection: by it a coordinator's socket knows a peer, until that connects anew.

    Raises `ConfigError` for a name that is none.
    """
    check_name(kind, name)
    return f"{_LETTERS[kind]}:{name}:{secrets.token_hex(4)}".encode()


def identified(data: bytes) -> tuple[Kind, str]:
    """Who that is. Raises `LinkError`."""
    try:
        letter, _, rest = data.decode().partition(":")
        kind, name = _KINDS[letter], rest.rpartition(":")[0]
        check_name(kind, name)
    except (UnicodeDecodeError, KeyError, ConfigError) as error:
        raise LinkError("a peer that does not say who it is") from error
    return kind, name


def check_name(kind: str, name: str) -> None:
    """Raises `ConfigError`."""
    if not (0 < len(name) <= LONGEST_NAME and name.isprintable()):
        raise ConfigError(f"not a name for a {kind}: '{name}'")


def check_keys(place: str, key: LinkKey | None, coordinator: bytes | None) -> None:
    """Whether a peer has what it needs to go there. Raises `ConfigError`."""
    if keyed(place) and (key is None or coordinator is None):
        raise ConfigError(f"nobody talks to {place} without a key and the coordinator's public key")


def set_up(socket: Any, place: str, key: LinkKey | None, coordinator: bytes | None) -> None:
    """Before it binds or connects to `place`. `coordinator` is the public key that is expected
    there; None: we are the coordinator."""
    prepare(socket, control=True)
    socket.setsockopt(zmq.MAXMSGSIZE, MOST_CONTROL_BYTES)
    # A machine that lost its power says no goodbye.
    socket.setsockopt(zmq.HEARTBEAT_IVL, round(BEAT_S * 1000))
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, round(DEAD_S * 1000))
    if keyed(place) and key is not None:
        prove(socket, key, edge=coordinator)
