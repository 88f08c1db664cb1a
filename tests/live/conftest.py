"""Servers for the tests of this folder. One per module: starting three processes takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.live.serving import Publisher, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(tmp_path_factory.mktemp("server"), "--pipeline", "transcode")
    yield one
    one.stop()


@pytest.fixture
def publish(server: Server) -> Iterator[Callable[..., Publisher]]:
    some: list[Publisher] = []

    def start(name: str, **options: object) -> Publisher:
        some.append(Publisher(server, name, **options))  # type: ignore[arg-type]
        return some[-1]

    yield start
    for one in some:
        one.close()
