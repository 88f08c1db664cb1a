"""For every test: an ordinary process; packages with stages, installed for one; a browser."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamgen.encode.ffmpeg import leave_real_time
from streamgen.plugins import find_stage
from tests.browsing import chromium

ROOT = Path(__file__).resolve().parents[1]
Install = Callable[..., str]


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """A suite that is started in the background ignores some signals, as would what it starts."""
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(autouse=True)
def shared_machine() -> Iterator[None]:
    """Tests that make AV1 clips with libavcodec itself do not leave the suite in real time."""
    yield
    leave_real_time()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(fine="tests.testing.stages:Plain")`: a package with these stages, whose name is
    given back. Seen by this process and by those it starts."""
    site = tmp_path / "site"
    site.mkdir()
    ours = [path for path in sys.path if Path(path).is_relative_to(ROOT) and ".venv" not in path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT), *ours]))
    monkeypatch.syspath_prepend(str(site))

    def made(package: str = "other-stages", /, **stages: str) -> str:
        info = site / f"{package.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        lines = [f"{name.replace('_', '-')} = {value}" for name, value in stages.items()]
        (info / "entry_points.txt").write_text("\n".join(["[streamgen.stages]", *lines]) + "\n")
        importlib.invalidate_caches()
        find_stage.cache_clear()
        return package

    yield made
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(site)):
            del sys.modules[name]
    find_stage.cache_clear()
    importlib.invalidate_caches()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium; folders whose tests need a camera have their own."""
    with chromium(playwright, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page()
    yield page
    page.close()
