"""Who does not see the page, uses no mouse, or wants it light: axe-core finds nothing wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import opened_page
from tests.live.serving import Server
from tests.live.test_page import STATE

pytestmark = pytest.mark.browser
RUN = """async () => {
  const found = await axe.run(document, {resultTypes: ['violations']});
  return found.violations.flatMap((one) => one.nodes.map((node) =>
    `${one.id} (${one.impact}): ${node.target} ${node.failureSummary}`));
}"""
WALK = """() => {
  const one = document.activeElement;
  return [one.id || one.name || one.ariaLabel || one.textContent.trim().slice(0, 20), one.tagName];
}"""

TOP = """() => {
  document.body.tabIndex = -1;
  document.body.focus();  // the next Tab begins there
  document.body.removeAttribute('tabindex');
}"""


@pytest.fixture(scope="module")
def axe() -> str:
    place = Path(os.environ.get("STREAMGEN_TEST_AXE", "node_modules/axe-core/axe.min.js"))
    if not place.is_file():
        pytest.skip("axe-core is not there (npm pack axe-core; STREAMGEN_TEST_AXE names its file)")
    return place.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shown(browser: Any, server: Server) -> Iterator[Any]:
    """The page, playing its own sample, all its panels filled."""
    with opened_page(browser, server) as page:
        page.evaluate("localStorage.clear()")
        page.select_option("#size", "240")
        page.locator(".card").filter(has=page.locator("input[value=ink]")).click()
        page.click("#veil-try")
        server.until(lambda: page.evaluate(STATE) == "playing", "picture")
        server.until(lambda: "Player" in page.inner_text("#times"), "times")
        page.click("#compare")
        server.until(lambda: page.is_visible("#split"), "the slider", 30)
        yield page


def violations(page: Any, axe: str) -> list[str]:
    page.evaluate(f"() => {{ {axe} }}")
    return list(page.evaluate(RUN))


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_while_a_stream_is_live(
    shown: Any, axe: str, scheme: str, size: tuple[int, int]
) -> None:
    shown.emulate_media(color_scheme=scheme)
    shown.set_viewport_size({"width": size[0], "height": size[1]})
    assert violations(shown, axe) == []
    overflow = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert shown.evaluate(overflow) == 0


def test_axe_finds_nothing_in_the_dialogs(shown: Any, axe: str) -> None:
    for opener, dialog in (("#keys-open", "#keys"), ("[aria-label='QR code: WHEP']", "#code")):
        shown.click(opener)
        assert shown.is_visible(dialog)
        assert violations(shown, axe) == []
        shown.keyboard.press("Escape")


def test_axe_finds_nothing_while_nothing_is_live(browser: Any, server: Server, axe: str) -> None:
    with opened_page(browser, server) as page:
        page.evaluate("location.hash = 'nobody'")
        server.until(lambda: "Nobody is live" in page.inner_text("#veil"), "an empty screen")
        assert violations(page, axe) == []


def test_the_keyboard_reaches_everything_and_is_never_trapped(shown: Any) -> None:
    shown.set_viewport_size({"width": 1440, "height": 900})
    shown.evaluate(TOP)
    walked: list[str] = []
    for _ in range(80):
        shown.keyboard.press("Tab")
        name, tag = shown.evaluate(WALK)
        if tag == "BODY":
            break
        walked.append(name)
    assert tag == "BODY", "the end of the page is never reached"
    assert walked[0] == "Skip to the stream"
    for wanted in ("theme", "keys-open", "split-at", "sound", "full", "way", "compare", "record"):
        assert wanted in walked, walked
    for wanted in ("go", "pipeline", "over", "QR code: This page", "Copy: HLS"):
        assert wanted in walked, walked


def test_light_and_dark_are_the_system_s_until_the_user_chooses(shown: Any) -> None:
    ground = "() => getComputedStyle(document.body).backgroundColor"
    shown.emulate_media(color_scheme="light")
    light = shown.evaluate(ground)
    shown.emulate_media(color_scheme="dark")
    dark = shown.evaluate(ground)
    assert light != dark
    shown.click("#theme")
    assert shown.evaluate(ground) == light
    assert shown.get_attribute("#theme", "aria-label") == "Light or dark: light"
    shown.click("#theme")
    shown.emulate_media(color_scheme="light")
    assert shown.evaluate(ground) == dark
    shown.click("#theme")
    assert shown.evaluate(ground) == light
