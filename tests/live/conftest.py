"""Servers for the tests of this folder. One per module: starting three processes takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.browsing import FAKE_DEVICES, LEAVE, chromium
from tests.live.serving import Publisher, Server

QUIET = ("/whep/", "/v1/events")
"""What may fail without anybody's fault: it may just have ended."""


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


@contextmanager
def opened_page(browser: Any, server: Server, *quiet: str) -> Iterator[Any]:
    """The page, open; whatever went wrong in it fails the test, but requests to what is `quiet`."""
    page = browser.new_page()
    page.set_default_timeout(10_000)
    wrong: list[str] = []
    quiet = (*QUIET, *quiet)
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def note(said: Any) -> None:
        if said.type == "error" and not any(part in said.location["url"] for part in quiet):
            wrong.append(f"{said.text} {said.location}")

    page.on("console", note)
    page.goto(f"http://127.0.0.1:{server.http}/")
    yield page
    page.close()
    assert not wrong


@pytest.fixture(scope="module")
def browser(playwright: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium with a camera that is none, and leave to use it."""
    with chromium(playwright, tmp_path_factory.mktemp("profile"), FAKE_DEVICES, LEAVE) as browser:
        yield browser
