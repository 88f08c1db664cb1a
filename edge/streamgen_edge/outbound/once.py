"""`Once`: a question that is on its way is not asked a second time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Once(Generic[K, V]):
    """By key, on one loop. Nothing is remembered once it is answered."""

    def __init__(self) -> None:
        self._asked: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        return len(self._asked)

    async def ask(self, key: K, question: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """`question` itself has to end in time: who loses patience here leaves it to the others."""
        asked = self._asked.get(key)
        if asked is None:
            asked = asyncio.get_running_loop().create_task(question())
            self._asked[key] = asked
            asked.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(asked)

    def _answered(self, key: K, done: asyncio.Task[V]) -> None:
        del self._asked[key]
        if not done.cancelled():
            done.exception()  # perhaps nobody waits for it any more
