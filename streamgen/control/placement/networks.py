"""`Network`: a network as it is loaded, for pictures of one size; its text is for coordinators."""

from __future__ import annotations

import re
from dataclasses import dataclass

from streamgen.errors import ConfigError

_TEXT = re.compile(r"(\S{1,48})@(\d{1,5})x(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Network:
    model: str
    width: int
    height: int
    """Of the source: what stands before it in a pipeline may make another size of that."""

    @property
    def text(self) -> str:
        return f"{self.model}@{self.width}x{self.height}"

    @classmethod
    def read(cls, text: str) -> Network:
        """Raises `ConfigError`."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ConfigError(f"not a network and its size: '{text}'")
        return cls(match[1], int(match[2]), int(match[3]))
