"""Draws `docs/page.png`: the page of a server of its own, its sample redrawn, in Chromium.

PYTHONPATH=. python docs/picture_of_page.py [--out docs/page.png] [--size 1200x750] [--light]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from streamgen_edge.demo.own_server import OwnServer
from tests.browsing import chromium

CONFIG = "recording: {{folder: {folder}}}\n"
PLAYING = "#stage[data-state=playing]"
PIPELINE = "starry"
PLAYS_S = 12.0
"""Until the figures are of a stream that runs."""


def draw(out: Path, width: int, height: int, scheme: str) -> None:
    """Publish the sample as a visitor would, split it, record it, and take the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = folder / "kept"
        kept.mkdir()
        config = folder / "server.yaml"
        config.write_text(CONFIG.format(folder=kept))
        with (
            OwnServer(folder / "log", "--config", str(config)) as server,
            sync_playwright() as playwright,
            chromium(playwright, folder / "profile") as browser,
        ):
            page = browser.new_page()
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme=scheme)
            page.goto(f"http://127.0.0.1:{server.http}/")
            page.locator(".card").filter(has=page.locator(f"input[value={PIPELINE}]")).click()
            page.click("#veil-try")
            page.wait_for_selector(PLAYING, timeout=60_000)
            page.click("#compare")
            page.click("#record")
            page.evaluate("scrollTo(0, 0)")
            time.sleep(PLAYS_S)
            page.screenshot(path=str(out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("page.png"))
    parser.add_argument("--size", default="1200x750", help="of the window")
    parser.add_argument("--light", action="store_true", help="instead of dark")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    draw(given.out, width, height, "light" if given.light else "dark")


if __name__ == "__main__":
    main()
