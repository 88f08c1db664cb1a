"""The control page in Chromium against a real server, and what it needs of the API."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.live.conftest import opened_page
from tests.live.serving import Server

LOOK = """() => {
  const video = document.getElementById('video');
  const [w, h] = [64, 36], g = Object.assign(document.createElement('canvas'),
    {width: w, height: h}).getContext('2d');
  g.drawImage(video, 0, 0, w, h);
  const data = g.getImageData(0, 0, w, h).data, colors = [], luma = [];
  for (let n = 0; n < data.length; n += 4) {
    const [r, green, b] = data.subarray(n, n + 3);
    colors.push(Math.max(r, green, b) - Math.min(r, green, b));
    luma.push(green);
  }
  return {width: video.videoWidth, time: video.currentTime, luma,
          color: colors.reduce((a, b) => a + b) / colors.length};
}"""
STATE = "() => document.getElementById('stage').dataset.state"


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    with opened_page(browser, server) as page:
        yield page


def choose(page: Any, pipeline: str) -> None:
    page.locator(".card").filter(has=page.locator(f"input[value={pipeline}]")).click()


@pytest.mark.browser
def test_the_page_publishes_the_sample_and_plays_it_painted(server: Server, page: Any) -> None:
    page.fill("#name", "shown")
    page.press("#name", "Tab")
    page.select_option("#size", "240")
    choose(page, "starry")  # before anything is live
    page.click("#veil-try")
    server.until(lambda: page.evaluate(STATE) == "playing", "picture")
    assert server.stream("shown")["pipeline"]["name"] == "starry"
    assert server.stream("shown")["publisher"]["protocol"] == "whip"
    first = page.evaluate(LOOK)
    time.sleep(1)
    second = page.evaluate(LOOK)
    assert first["width"] == second["width"] == 426
    assert second["time"] > first["time"] + 0.5
    moved = [abs(a - b) for a, b in zip(first["luma"], second["luma"], strict=True)]
    assert sum(moved) / len(moved) > 1
    server.until(lambda: "/s" in page.inner_text("#figures"), "figures")
    assert "shown" in page.inner_text("#streams")

    page.fill("[data-node=style] [data-parameter=strength] input", "0.9")
    since = server.until(lambda: page.get_attribute(".when", "data-pts"), "time of the change")
    assert int(since) > 0 and page.inner_text(".when").startswith("since 0:")
    assert server.stream("shown")["params"] == {"style": {"strength": 0.9}}

    choose(page, "ink")  # hardly any colour
    server.until(lambda: page.evaluate(LOOK)["color"] < second["color"] / 2, "ink", 30)
    assert server.stream("shown")["pipeline"]["name"] == "ink"
    assert server.stream("shown")["params"] == {}
    assert page.evaluate(STATE) == "playing"

    page.click("#go")
    server.until(lambda: server.stream("shown")["state"] == "ended", "end")
    server.until(lambda: "Nobody is live" in page.inner_text("#veil"), "empty screen")
    assert page.is_hidden("#inset")


@pytest.mark.browser
def test_the_page_publishes_a_camera_and_its_end_with_the_page(
    server: Server, browser: Any, page: Any
) -> None:
    page.fill("#name", "camera")
    page.select_option("#size", "240")
    page.check("input[value=camera]", force=True)
    page.click("#go")
    server.until(lambda: page.evaluate(STATE) == "playing", "picture")
    assert page.evaluate(LOOK)["color"] > 20
    page.goto("about:blank")
    server.until(lambda: server.stream("camera")["state"] == "ended", "end", 5)


def test_a_pipeline_tells_its_nodes(server: Server) -> None:
    status, row = server.get("/v1/pipelines/painted-motion")
    assert status == 200
    assert [node["node"] for node in row["nodes"]] == ["painted", "moving", "out"]
    assert row["nodes"][1]["values"]["hold"] == "400ms"
    assert server.get("/v1/pipelines/none")[0] == 404
    assert server.get("/v1/streams/none/params")[0] == 404
    assert server.get("/v1/server")[1]["rtmp"] == {"scheme": "rtmp", "port": server.rtmp}


def test_a_pipeline_is_chosen_before_anybody_publishes(server: Server) -> None:
    status, row = server.get("/v1/streams/later", "PUT", {"pipeline": "ink"})
    assert (status, row["state"], row["pipeline"]["name"]) == (202, None, "ink")
    assert server.stream("later") == {}
    assert server.get("/v1/streams/later", "PUT", {"pipeline": "none"})[0] == 422
    assert server.get("/v1/streams/no.name", "PUT", {"pipeline": "ink"})[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}, 202),
        ({"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_another_site_s_page_changes_nothing(
    server: Server, headers: dict[str, str], status: int
) -> None:
    sent = {key: value.format(port=server.http) for key, value in headers.items()}
    line = http.client.HTTPConnection("127.0.0.1", server.http, timeout=10)
    body = json.dumps({"pipeline": "ink"})
    line.request("PUT", "/v1/streams/foreign", body, {"content-type": "application/json", **sent})
    answer = line.getresponse()
    text = answer.read().decode()
    line.close()
    assert answer.status == status
    assert status == 202 or "other sites" in text
