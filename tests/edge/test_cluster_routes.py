"""For whom an edge asks the coordinator, and what it says where there is none."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

import pytest
from fastapi import FastAPI

from streamgen.control.api.calling import called
from streamgen.control.coordinator.messages import ToCoordinator
from streamgen.control.coordinator.questions import ApiAsked, ApiTold
from streamgen_edge.cluster.questions import Questions
from streamgen_edge.cluster.routes import cluster_routes
from tests.edge.test_reference import app
from tests.edge.webrtc.peers import looped

ROUTES = (
    ("GET", "/v1/nodes"),
    ("GET", "/v1/cluster"),
    ("GET", "/v1/cluster/streams"),
    ("POST", "/v1/nodes/node-1/drain"),
    ("DELETE", "/v1/nodes/node-1/drain"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/one"),
    ("DELETE", "/v1/jobs/one"),
    ("POST", "/v1/jobs"),
)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_only_who_may_administer_asks(method: str, path: str) -> None:
    api = app()

    @looped
    async def ask() -> None:
        elsewhere = [("x-forwarded-for", "192.0.2.1")]
        assert (await called(api, method, path, elsewhere))[0] == 403
        status, headers, body = await called(api, method, path)
        assert (status, json.loads(body)["detail"]) == (
            (
                404,
                "there is no store here: jobs are submitted where one is, by streamgen jobs submit",
            )
            if method == "POST" and path == "/v1/jobs"
            else (404, "this server is in no cluster")
        )
        assert ("content-type", "application/problem+json") in headers

    ask()


def test_openapi_describes_each_part_of_their_paths() -> None:
    paths = app().openapi()["paths"]
    for path in ("/v1/jobs/{job}", "/v1/nodes/{node}/drain"):
        for operation in paths[path].values():
            (one,) = operation["parameters"]
            assert one["in"] == "path"
            assert "{" + one["name"] + "}" in path


@pytest.mark.parametrize("name", ["a%41", "a#1", "a?b", "\u0394"])
def test_the_coordinator_is_asked_of_the_very_node_that_is_named(name: str) -> None:
    questions, app, drained = Questions(), FastAPI(), []
    cluster_routes(app, questions, [])
    leader = FastAPI()

    @leader.post("/v1/nodes/{node}/drain")
    async def drain(node: str, find: str) -> None:
        drained.append((node, find))

    async def answer(asked: ApiAsked) -> None:
        status, _, body = await called(leader, asked.method, asked.path)
        questions.heard(ApiTold(asked.number, status, body, last=True))

    def say(message: ToCoordinator) -> None:
        assert isinstance(message, ApiAsked)
        answers.append(asyncio.create_task(answer(message)))

    answers: list[asyncio.Task[None]] = []
    questions.leads, questions.say = lambda: 1, say

    @looped
    async def ask() -> None:
        target = f"/v1/nodes/{quote(name, safe='')}/drain?find=%C3%BC"
        assert (await called(app, "POST", target))[0] == 200

    ask()
    assert drained == [(name, "\u00fc")]
