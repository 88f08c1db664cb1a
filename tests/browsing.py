"""Chromium for tests: its flags, and how it is started and ended."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
FAKE_DEVICES = "--use-fake-device-for-media-stream"
"""A camera and a microphone that are none."""
LEAVE = "--use-fake-ui-for-media-stream"
"""To use cameras, microphones and screens: nobody is there to be asked."""


@contextmanager
def chromium(playwright: Any, profile: Path, *flags: str) -> Iterator[Any]:
    """With an empty profile."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    browser = playwright.chromium.launch_persistent_context(
        str(profile),
        executable_path=program,
        headless=False,  # a flag asks for the new headless mode
        args=[*FLAGS, *flags],
        timeout=20_000,
    )
    try:
        yield browser
    finally:
        browser.close()
