"""The page's files: their types, what a browser need not load again, and what nobody gets."""

from __future__ import annotations

from pathlib import Path

import pytest

import streamgen.control.api.pages as pages
import streamgen_edge.page as page
from streamgen_edge.page import PageApp
from tests.by_itself import assert_by_itself
from tests.edge.webrtc.peers import looped
from tests.edge.webrtc.studio import Answer, ask

FOLDER = Path(page.__file__).parent
LOOK = Path(pages.__file__).parent / "look"
"""What it shares with the page of a cluster."""
FILES = {
    path.name: path
    for folder in (FOLDER, LOOK)
    for path in sorted(folder.iterdir())
    if path.suffix in {".js", ".css", ".svg"}
}


async def asked(path: str, method: str = "GET", **headers: str) -> Answer:
    return await ask(PageApp(), method, path, **headers)


@looped
async def test_every_file_is_served_as_what_it_is() -> None:
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    assert (await asked("/")).headers["content-type"] == "text/html; charset=utf-8"
    for name, path in FILES.items():
        answer = await asked(f"/page/{name}")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith(kinds[path.suffix])
        assert answer.text == path.read_text(encoding="utf-8")


@looped
async def test_without_hls_js_a_module_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await asked("/page/hls.mjs")
    assert answer.headers["content-type"].startswith("text/javascript")
    fetched = FOLDER / "vendor" / "hls.mjs"
    assert not fetched.exists() or answer.text == fetched.read_text(encoding="utf-8")
    monkeypatch.setattr("streamgen_edge.page.app._ours", lambda: [FOLDER / "index.html"])
    assert (await asked("/page/hls.mjs")).text == "export default null;\n"


@looped
async def test_a_browser_that_has_a_file_does_not_load_it_again() -> None:
    first = await asked("/page/main.js")
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        again = await asked("/page/main.js", if_none_match=known)
        assert (again.status, again.text) == (304, "")
        assert again.headers["etag"] == tag
    assert (await asked("/page/main.js", if_none_match='"other"')).status == 200
    assert (await asked("/", "HEAD")).text == ""
    assert (await asked("/", "POST")).status == 405


@looped
async def test_nothing_but_the_page_s_files_is_found() -> None:
    for path in (
        "/page/",
        "/page/app.py",
        "/page/__init__.py",
        "/page/../api.py",
        "/page/..%2fapi.py",
        "/page//etc/passwd",
        "/page/main.js/",
        "/page/index.html",
        "/page/vendor/hls.mjs",
        "/page/hls.LICENSE",
    ):
        assert (await asked(path)).status == 404, path


@looped
async def test_a_page_that_administers_a_server_is_guarded() -> None:
    for path in ("/", "/page/main.js", "/page/none"):
        headers = (await asked(path)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self'") and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_nothing_comes_from_elsewhere_and_nothing_is_inline() -> None:
    assert_by_itself({"index.html": FOLDER / "index.html", **FILES})


@pytest.mark.parametrize("name", FILES)
def test_a_module_is_short(name: str) -> None:
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= 400
