"""The page of a cluster in Chromium, against a coordinator with nodes, edges and jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("zmq")

from streamgen.control.coordinator.events import NodeReport
from streamgen.control.placement.resources import Profile, Resources
from tests.control.api.shown import Shown
from tests.live.test_page_access import RUN, TOP, WALK

pytestmark = pytest.mark.browser
TOKEN = "a token of some length"
BIG = Profile("huge", (Resources(cpu_ms=90_000),))
SIZES = [(1440, 900), (390, 844)]


@pytest.fixture(scope="module")
def axe() -> str:
    place = Path(os.environ.get("STREAMGEN_TEST_AXE", "node_modules/axe-core/axe.min.js"))
    if not place.is_file():
        pytest.skip("axe-core is not there (npm pack axe-core; STREAMGEN_TEST_AXE names its file)")
    return place.read_text(encoding="utf-8")


@contextmanager
def opened(browser: Any, port: int, *quiet: str) -> Iterator[Any]:
    """The page, open; whatever goes wrong in it fails the test, but requests with `quiet`."""
    page = browser.new_page()
    page.set_default_timeout(10_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def note(said: Any) -> None:
        if said.type == "error" and not any(part in said.text for part in quiet):
            wrong.append(f"{said.text} {said.location}")

    page.on("console", note)
    page.goto(f"http://127.0.0.1:{port}/")
    yield page
    page.close()
    assert not wrong


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    with Shown(tmp_path_factory.mktemp("cluster")) as one:
        one.until(one.leads, "it leads")
        one.edge("edge-1")
        one.node("node-1")
        one.want("edge-1", "main")
        one.until(lambda: "main" in one.nodes["node-1"].running, "an owner")
        one.node("node-2")
        one.want("edge-1", "wall", BIG)
        one.job("half", "waiting", 4, 2)
        one.job("bad", "failed", 3)
        yield one


@pytest.fixture(scope="module")
def page(browser: Any, shown: Shown) -> Iterator[Any]:
    with opened(browser, shown.port) as page:
        page.evaluate("localStorage.clear()")
        shown.until(lambda: "wall" in page.inner_text("#streams"), "the streams")
        shown.until(lambda: "node-2" in page.inner_text("#nodes"), "the nodes")
        yield page


def row(page: Any, name: str) -> str:
    """What is told of a node or stream."""
    return str(page.locator("tbody tr").filter(has=page.locator(f"th >> text={name}")).inner_text())


def violations(page: Any, axe: str) -> list[str]:
    page.evaluate(f"() => {{ {axe} }}")
    return list(page.evaluate(RUN))


def test_a_cluster_is_shown_with_who_leads_and_who_waits_for_what(shown: Shown, page: Any) -> None:
    assert "host-1 leads, epoch 1" in page.inner_text("#server")
    shown.until(lambda: "14 %" in row(page, "node-1"), "its load")
    assert "No open node has CPU 90000" in row(page, "wall")
    assert all(word in row(page, "main") for word in ("Running", "node-1", "edge-1", "1.1"))
    assert "2 of 4 pieces" in page.inner_text("#jobs")
    assert "no such file" in page.inner_text("#jobs")
    assert "edge-1" in page.inner_text("#edges")
    assert page.locator("#figures > div").nth(3).inner_text().split("\n")[:2] == ["Waiting", "1"]
    assert page.title() == "(1 waiting) streamgen cluster"


@pytest.mark.parametrize("size", SIZES, ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Any, axe: str, scheme: str, size: tuple[int, int]) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    assert violations(page, axe) == []
    overflow = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) == 0


def test_the_keyboard_reaches_everything_and_keeps_its_place_while_figures_change(
    shown: Shown, page: Any
) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    page.evaluate(TOP)
    walked = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name, tag = page.evaluate(WALK)
        if tag == "BODY":
            break
        walked.append(name)
    assert tag == "BODY", "the end of the page is never reached"
    assert walked[0] == "Skip to the streams"
    for wanted in ("find", "theme", "Drain: node-1", "Drain: node-2", "news"):
        assert wanted in walked, walked
    page.focus("[aria-label='Drain: node-2']")
    shown.want("edge-1", "another")
    shown.until(lambda: "another" in page.inner_text("#streams"), "another stream")
    assert page.evaluate("document.activeElement.ariaLabel") == "Drain: node-2"


def test_a_node_is_drained_once_one_is_sure_and_used_again(
    shown: Shown, page: Any, axe: str
) -> None:
    page.click("[aria-label='Drain: node-1']")
    assert "Drain node-1?" in page.inner_text("#drain")
    assert violations(page, axe) == []
    page.keyboard.press("Escape")
    assert page.is_hidden("#drain")
    assert "Up" in row(page, "node-1")
    page.click("[aria-label='Drain: node-1']")
    page.click("#drain .primary")
    shown.until(lambda: "node-1 drains." in page.inner_text("#nodes-told"), "its answer")
    shown.until(lambda: "Drained" in row(page, "node-1"), "an empty node")
    shown.until(lambda: "node-2" in row(page, "main"), "its stream elsewhere")
    news = page.inner_text("#news")
    assert "main moves from node-1 to node-2" in news and "node-1 is empty" in news
    page.click("[aria-label='Use again: node-1']")
    shown.until(lambda: "Up" in row(page, "node-1"), "its use")


def test_pieces_of_jobs_that_a_node_makes_are_told(shown: Shown, page: Any) -> None:
    node = shown.nodes["node-2"]
    shown.say(node, NodeReport("node-2", tuple(node.running.values()), pieces=2))
    shown.until(lambda: "2 pieces" in row(page, "node-2"), "them")


def test_what_one_looks_for_is_found(shown: Shown, page: Any) -> None:
    page.fill("#find", "wall")
    shown.until(lambda: "main" not in page.inner_text("#streams"), "the others to go")
    assert "wall" in page.inner_text("#streams")
    assert page.inner_text("#nodes-none") == "No node has that in its name."
    page.fill("#find", "")
    shown.until(lambda: "main" in page.inner_text("#streams"), "all of them")


def test_names_of_streams_are_text_whatever_is_in_them(shown: Shown, page: Any) -> None:
    shown.want("edge-1", "<img src=x onerror=alert(1)>")
    shown.until(lambda: "<img src=x" in page.inner_text("#streams"), "it")
    assert page.locator("#streams img").count() == 0


def test_a_standby_shows_who_leads(browser: Any, shown: Shown, axe: str) -> None:
    with (
        Shown(shown.folder, "host-2") as standby,
        opened(browser, standby.port) as page,
    ):
        standby.until(lambda: "stands by" in page.inner_text("#notice"), "the notice")
        assert "host-1 leads" in page.inner_text("#notice")
        assert page.is_hidden("#nodes") and page.is_hidden("#streams")
        assert violations(page, axe) == []


def test_a_token_is_asked_for_and_kept_in_memory(browser: Any, tmp_path: Path, axe: str) -> None:
    with (
        Shown(tmp_path, token=TOKEN) as one,
        opened(browser, one.port, "401", "403") as page,
    ):
        one.until(one.leads, "it leads")
        one.until(lambda: page.is_visible("#key"), "the question")
        assert violations(page, axe) == []
        page.fill("#key-text", "another token of some length")
        page.click("#key .primary")
        one.until(lambda: "may not administer" in page.inner_text("#server"), "no")
        page.click("#key-open")
        page.fill("#key-text", TOKEN)
        page.keyboard.press("Enter")
        one.until(lambda: "host-1 leads" in page.inner_text("#server"), "yes")
        kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        assert TOKEN not in kept + page.inner_text("body")


def test_a_page_whose_coordinator_is_gone_says_so(browser: Any, tmp_path: Path) -> None:
    with opened_then_gone(browser, tmp_path) as (one, page):
        one.until(lambda: "does not answer" in page.inner_text("#server"), "the truth")
        assert page.evaluate("'stale' in document.body.dataset")


@contextmanager
def opened_then_gone(browser: Any, folder: Path) -> Iterator[tuple[Shown, Any]]:
    with Shown(folder) as one, opened(browser, one.port, "ERR_") as page:
        one.until(lambda: "leads" in page.inner_text("#server"), "a leader")
        one.stop()
        yield one, page
