"""Codecs of one engine, tried in turn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

import av
from av.error import FFmpegError


def try_each(codecs: Iterable[str], attempt: Callable[[str], None]) -> None:
    """End the process with those that work, and why others do not.

    `attempt` raises `FFmpegError` where one does not, `ValueError` where it does it wrongly. The
    library's own first complaint is the reason.
    """
    works: list[str] = []
    refused: dict[str, str] = {}
    av.logging.set_level(av.logging.ERROR)
    for codec in codecs:
        with av.logging.Capture() as said:
            try:
                attempt(codec)
                works.append(codec)
            except (FFmpegError, ValueError) as error:
                texts = [text.strip() for _, _, text in said]
                refused[codec] = next(filter(None, texts), str(error))
    if len(set(refused.values())) == 1 and not works:
        sys.exit(refused.popitem()[1])
    reasons = [f"{codec}: {reason}" for codec, reason in refused.items()]
    if not works:
        sys.exit("; ".join(reasons))
    print("; ".join([", ".join(works), *(f"not {reason}" for reason in reasons)]))
