"""`LinkKey`: who an edge or a worker is on a link between machines (CURVE), as file and text.

A key's text is 64 hexadecimal digits: it goes into YAML, variables and command lines as it is.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from streamgen.errors import ConfigError

_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class LinkKey:
    """A key pair."""

    public: bytes
    """May be told to everybody; 32 bytes."""
    secret: bytes = field(repr=False)


def public_key(text: str) -> bytes:
    """Raises `ConfigError`."""
    found = text.strip().lower()
    if not _KEY.fullmatch(found):
        raise ConfigError(f"not a public key of a link: '{text}' (64 hexadecimal digits)")
    return bytes.fromhex(found)


def new_key(path: Path) -> LinkKey:
    """Make a pair and keep it in a new file that only its owner can read.

    Raises `ConfigError` when the file is there already or cannot be written.
    """
    public, secret = (z85.decode(text) for text in zmq.curve_keypair())
    text = f"# Key of a streamgen link. Keep it secret. Its public key:\n# {public.hex()}\n"
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot make {path}: {error.strerror}") from error
    with os.fdopen(file, "w", encoding="ascii") as out:
        out.write(f"{text}{secret.hex()}\n")
    return LinkKey(public, secret)


def read_key(path: Path) -> LinkKey:
    """Raises `ConfigError`, also when others than owner and group may read the file."""
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = [line.strip() for line in file.read(4096).splitlines()]
    except OSError as error:
        raise ConfigError(f"cannot read the key {path}: {error.strerror}") from error
    if mode & stat.S_IRWXO:
        raise ConfigError(f"everybody may read the key {path}: chmod 600 {path}")
    found = [line for line in lines if line and not line.startswith("#")]
    if len(found) != 1 or not _KEY.fullmatch(found[0]):
        raise ConfigError(f"not a key of a link: {path} (streamgen worker --new-key makes one)")
    secret = bytes.fromhex(found[0])
    return LinkKey(z85.decode(zmq.curve_public(z85.encode(secret))), secret)
