"""One line is one line, whatever names are in it."""

from __future__ import annotations

import re

_URL = re.compile(r"(\w+://)(?:[^\s/@'\"]*@)?([^\s?#'\"]*)[^\s'\",)]*")


def one_line(text: str) -> str:
    """File names may hold line breaks and control characters; a terminal or a log should not."""
    return text if text.isprintable() else " ".join(map(_visible, text.splitlines())).strip()


def _visible(line: str) -> str:
    return line if line.isprintable() else repr(line)[1:-1]


def without_secrets(text: str) -> str:
    """URLs without user, password and query: what a library said of them may end up in a log."""
    return _URL.sub(r"\1\2", text)
