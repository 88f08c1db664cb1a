"""`Known`: the public keys of nodes and edges, in a file; who is not in it does not come in."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from streamgen.control.guests import Guests
from streamgen.control.keys import public_key
from streamgen.errors import ConfigError
from streamgen.telemetry import Telemetry

log = logging.getLogger("streamgen.coordinator")


class Known:
    """Lines of a file: a key, and after it, if you like, the only name its owner may have, in which
    `*` stands for anything."""

    def __init__(self, path: Path, telemetry: Telemetry) -> None:
        """Raises `ConfigError`."""
        self._path = path
        self._stamp = _stamp(path)
        self._names = read_known(path)
        self.guests = Guests(self._names, telemetry)

    def may(self, key: bytes, name: str) -> bool:
        return fnmatchcase(name, self._names.get(key, "*"))

    def renew(self) -> None:
        """Read the file anew if it has changed. A file that is wrong changes nothing."""
        stamp = _stamp(self._path)
        if stamp is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._names = read_known(self._path)
        except ConfigError as error:
            log.warning("the keys stay as they were: %s", error)
            return
        self.guests.keys = frozenset(self._names)
        log.info("%d keys are known from now on", len(self._names))


def read_known(path: Path) -> Mapping[bytes, str]:
    """Names by key; `*` where any will do. Raises `ConfigError` with the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the keys of peers: {error}", path=str(path)) from error
    found: dict[bytes, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            key = public_key(words[0])
        except ConfigError as error:
            raise ConfigError(str(error), path=str(path), line=number) from error
        if len(words) > 2 or key in found:
            raise ConfigError("a key, once, and a name", path=str(path), line=number)
        found[key] = words[1] if len(words) == 2 else "*"
    return found


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
