"""What the API is asked of a stream whose home is another edge is asked there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streamgen.telemetry import Metrics
from streamgen_edge.api import api
from streamgen_edge.mirror.passing import Passing, answered
from tests.edge.hls.asking import Answer
from tests.edge.webrtc.peers import looped

from .edges import NAME, HomeEdge, OtherEdge, Tape, home, other


async def asked(
    edge: OtherEdge, method: str, path: str, body: Any = None, client: str = "127.0.0.1"
) -> Answer:
    rest = api(edge.streams, Metrics(), lambda: None, lambda: 0)
    answer = Answer()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    async def send(part: Any) -> None:
        if part["type"] == "http.response.start":
            answer.status = part["status"]
            answer.headers = {k.decode(): v.decode() for k, v in part["headers"]}
        else:
            answer.body += part.get("body", b"")

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"a=b",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": (client, 5),
        "server": ("127.0.0.1", 80),
    }
    await Passing(rest, edge.streams, edge.mirrors)(scope, receive, send)
    return answer


def seen(one: HomeEdge) -> list[tuple[str, str, str]]:
    return [(str(r["method"]), str(r["path"]), str(r["body"])) for r in one.requests]


@looped
async def test_changes_go_to_the_home_and_nothing_else_does(taped: Tape, tmp_path: Path) -> None:
    path = f"/v1/streams/{NAME}"
    async with home(tmp_path / "a", *taped) as one, other(tmp_path / "b") as two:
        one.begin()
        two.word.moved(one)
        change = {"node": "style", "values": {"strength": 0.5}}
        assert (await asked(two, "PATCH", f"{path}/params", change)).status == 204
        assert (await asked(two, "DELETE", path)).status == 204
        assert seen(one) == [
            ("PATCH", f"{path}/params", json.dumps(change)),
            ("DELETE", path, "null"),
        ]
        assert (await asked(two, "DELETE", path, client="192.0.2.1")).status == 403
        assert (await asked(two, "GET", f"{path}/picture")).status == 503  # made here, of nothing
        (row,) = json.loads((await asked(two, "GET", "/v1/streams")).text)
        assert (row["name"], row["home"], row["state"]) == (NAME, "edge-a", "live")
        assert (row["pipeline"], row["viewers"]) == ({}, 0)  # its home has not said more
        assert len(seen(one)) == 2
        two.word.moved(None, "")
        gone = await asked(two, "DELETE", f"/v1/streams/{NAME}")
        assert gone.status == 404 and "no stream" in gone.text
        (row,) = json.loads((await asked(two, "GET", "/v1/streams")).text)
        assert (row["home"], row["state"]) == (None, "gap")


@looped
async def test_a_home_that_does_not_answer_is_named(
    taped: Tape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgen_edge.mirror.line.ASK_S", 0.2)
    async with other(tmp_path / "b") as two:
        async with home(tmp_path / "a", *taped) as one:
            two.word.moved(one)
        answer = await asked(two, "DELETE", f"/v1/streams/{NAME}")
        assert answer.status == 503 and "edge-a" in answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@looped
async def test_the_home_does_what_it_is_asked_as_if_it_were_asked_there(tmp_path: Path) -> None:
    async with other(tmp_path / "a") as one:
        rest = api(one.streams, Metrics(), lambda: None, lambda: 0)

        async def ask(method: str, path: str, **more: Any) -> Mapping[str, Any]:
            request = {"method": method, "path": path, "query": "", "headers": [], "body": ""}
            return await answered(rest, request | more)

        assert (await ask("GET", "/v1/streams/none"))["status"] == 404
        listed = await ask("GET", "/v1/pipelines")
        assert (listed["status"], listed["body"]) == (404, "")  # it is of no stream
        wish = {"body": "{}", "headers": [["content-type", "application/json"]]}
        refused = await ask("PUT", f"/v1/streams/{NAME}/pushes/x", **wish)
        assert refused["status"] == 422 and "url" in json.loads(refused["body"])["detail"]
        assert (await ask("DELETE", f"/v1/streams/{NAME}/recording"))["status"] == 404
