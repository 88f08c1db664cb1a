"""What docs/hooks.md shows is what a service gets, and what it can check it by."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable

import pytest
import yaml

pytest.importorskip("h11", reason="h11 is not installed")

from streamgen_edge.hooks.delivery import WITHIN_S
from streamgen_edge.hooks.event import EndReason, Kind
from streamgen_edge.hooks.hooks import COUNTED
from streamgen_edge.hooks.outbox import MOST
from streamgen_edge.hooks.sender import WAITS_S
from streamgen_edge.hooks.stored import KEPT_STORED_S, LOOK_S, MOST_STORED
from streamgen_edge.node import HOOK_S
from streamgen_edge.settings import Server
from tests.edge.hooks.scene import SECRET, bodies, scene
from tests.edge.outbound.servers import Heard, answers
from tests.edge.test_link import until
from tests.edge.webrtc.peers import looped
from tests.test_docs import DOCS, blocks

TEXT = (DOCS / "hooks.md").read_text(encoding="utf-8")


def checker() -> Callable[..., bool]:
    (code,) = (block.text for block in blocks("hooks.md") if block.language == "python")
    assert len(code.partition("def ")[2].splitlines()) <= 6
    names: dict[str, Callable[..., bool]] = {}
    exec(code, names)  # type: ignore[arg-type]
    return names["genuine"]


async def one_message(at_s: float) -> Heard:
    async with scene(answers(204), at_s=at_s) as (made, service):
        made.begin()
        await until(lambda: made.counted("sent") == 1)
        (heard,) = service.heard
    return heard


@looped
async def test_the_lines_of_the_page_know_a_message_of_ours_from_another() -> None:
    genuine = checker()
    heard = await one_message(time.time())
    headers, body = heard.headers, heard.body
    assert genuine(SECRET, headers, body)
    assert genuine(SECRET.removeprefix("whsec_"), headers, body)
    assert not genuine(SECRET, headers, body.replace(b"cam", b"can"))
    assert not genuine("whsec_" + "A" * 32, headers, body)
    later = str(int(headers["webhook-timestamp"]) + 1)
    assert not genuine(SECRET, {**headers, "webhook-timestamp": later}, body)
    assert not genuine(SECRET, {**headers, "webhook-id": "another"}, body)
    old = await one_message(time.time() - 400)
    assert not genuine(SECRET, old.headers, old.body)


@looped
async def test_the_message_of_the_page_has_the_keys_that_are_sent() -> None:
    (shown,) = (block.text for block in blocks("hooks.md") if block.language == "json")
    async with scene(answers(204)) as (made, service):
        made.begin()
        made.end()
        await until(lambda: made.counted("sent") == 2)
        sent, end = bodies(service)
    assert list(json.loads(shown)) == list(sent)
    assert all(f"`{key}`" in TEXT for key in end if key not in sent)
    assert all(f"`{key}`" in TEXT for key in COUNTED)


def test_the_words_and_figures_of_the_page_are_ours() -> None:
    for word in (*Kind, *EndReason):
        assert f"`{word.value}`" in TEXT, word
    (waits,) = re.findall(r"after ([\d, and]+) s, each", TEXT)
    assert [float(number) for number in re.findall(r"\d+", waits)] == list(WAITS_S)
    assert f"within {WITHIN_S:g} s" in TEXT and f"{MOST} events wait" in TEXT
    assert f"for {HOOK_S:g} s;" in TEXT
    assert f"for {2 * WITHIN_S:g} s, while a try takes {WITHIN_S:g} s" in TEXT
    assert f"within that time and {LOOK_S:g} s" in TEXT
    assert f"{MOST_STORED} events of each hook wait in the store, for a day" in TEXT
    assert KEPT_STORED_S == 86_400


def test_the_hooks_of_the_page_hear_what_it_says() -> None:
    text, stored = (block.text for block in blocks("hooks.md") if block.language == "yaml")
    hooks = Server.model_validate(yaml.safe_load(text)).hooks
    assert hooks["accounts"].events == tuple(Kind) and hooks["archive"].events == (Kind.RECORD,)
    assert Server.model_validate(yaml.safe_load(stored)).store is not None
