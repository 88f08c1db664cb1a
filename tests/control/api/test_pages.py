"""The page's files, and the door in front of them and of the API."""

from __future__ import annotations

from pathlib import Path

import pytest

import streamgen.control.api.pages as pages
from streamgen.control.api.door import Door
from streamgen.control.api.pages import Receive, Scope, Send, cluster_page
from tests.by_itself import assert_by_itself
from tests.edge.webrtc.peers import looped
from tests.edge.webrtc.studio import Answer, ask

FOLDER = Path(pages.__file__).parent
FILES = {
    path.name: path for folder in ("page", "look") for path in sorted((FOLDER / folder).iterdir())
}


async def api(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"api"})


async def asked(path: str, method: str = "GET", **headers: str) -> Answer:
    door = Door(cluster_page(), api, "cluster.example")
    return await ask(door, method, path, **({"host": "localhost"} | headers))


@looped
async def test_every_file_of_the_page_is_served_and_nothing_else() -> None:
    for name, file in FILES.items():
        answer = await asked("/" if name == "index.html" else f"/page/{name}")
        assert answer.status == 200
        assert answer.text == file.read_text(encoding="utf-8")
    for path in (
        "/page/",
        "/page/../door.py",
        "/page/door.py",
        "/page/index.html",
        "/page/hls.mjs",
    ):
        assert (await asked(path)).status == 404


@looped
async def test_the_page_loads_nothing_from_elsewhere_and_nobody_embeds_it() -> None:
    for path in ("/", "/page/main.js", "/page/none"):
        headers = (await asked(path)).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self'") and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["permissions-policy"].startswith("camera=()")


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/v1/cluster", "/metrics", "/openapi.json"])
@looped
async def test_who_was_sent_here_under_a_foreign_name_gets_nothing(path: str) -> None:
    for host in ("localhost:7180", "127.0.0.1:7180", "[::1]:7180", "Cluster.example", "10.0.0.5"):
        assert (await asked(path, host=host)).status == 200
    for host in ("rebound.example", "localhost.example:7180", ""):
        answer = await asked(path, host=host)
        assert answer.status == 421
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/v1/cluster", "/v1/nodes/n/drain"])
@looped
async def test_pages_of_other_sites_get_nowhere(path: str) -> None:
    for origin in ("http://evil.example", "null", "http://localhost:81"):
        assert (await asked(path, origin=origin, host="localhost:80")).status == 403
    assert (await asked(path, origin="http://localhost:80", host="localhost:80")).status == 200


@looped
async def test_a_link_of_another_site_leads_to_the_page_but_not_to_the_api() -> None:
    assert (await asked("/", sec_fetch_site="cross-site")).status == 200
    assert (await asked("/v1/cluster", sec_fetch_site="cross-site")).status == 403


@looped
async def test_who_asks_for_health_needs_no_name() -> None:
    for path in ("/healthz", "/readyz"):
        assert (await asked(path, host="whatever.example")).text == "api"


def test_nothing_comes_from_elsewhere_and_nothing_is_inline() -> None:
    assert_by_itself(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_module_is_short(name: str) -> None:
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= 400
