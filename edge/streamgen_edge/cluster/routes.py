"""What any edge of a cluster is asked of all of it, answered by the coordinator that leads. For
administrators; a coordinator takes the edge's word for that."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Request, Response

from streamgen.control.api.door import PROBLEM
from streamgen.control.coordinator.messages import LONGEST_TEXT
from streamgen_edge.cluster.questions import Questions, Unanswered

RETRY_S = "1"
ALONE = "this server is in no cluster"
NO_STORE = "there is no store here: jobs are submitted where one is, by streamgen jobs submit"

_PARAMETER = re.compile(r"\{(\w+)\}")


def cluster_routes(app: FastAPI, questions: Questions | None, admin: list[Any]) -> None:
    """`questions`: None where there is no cluster."""
    passes = _Passing(app, questions, admin)
    passes("GET", "/v1/nodes", "Nodes and edges, as the coordinator that leads says.")
    passes("GET", "/v1/cluster", "The cluster at a glance; `find` in names, `most` of each kind.")
    passes("GET", "/v1/cluster/streams", "Who carries each stream, and who waits for what.")
    passes("POST", "/v1/nodes/{node}/drain", "Empty the node: what runs there leaves it.")
    passes("DELETE", "/v1/nodes/{node}/drain", "After all, use the node again.")


def cluster_job_routes(app: FastAPI, questions: Questions | None, admin: list[Any]) -> None:
    """Jobs, where the edge has no store of its own: those of the coordinators'."""
    passes = _Passing(app, questions, admin)
    passes("GET", "/v1/jobs", "The newest jobs, from old to new, `limit` at most.")
    passes("GET", "/v1/jobs/{job}", "One job, with its report, or its error.")
    passes("DELETE", "/v1/jobs/{job}", "What was made of it is thrown away.")

    @app.post("/v1/jobs", dependencies=admin)
    async def submit_job() -> None:
        """Only where the edge has a store of its own (else 404)."""
        raise HTTPException(404, NO_STORE)


class _Passing:
    """Adds routes whose questions are passed on."""

    def __init__(self, app: FastAPI, questions: Questions | None, admin: list[Any]) -> None:
        self._app, self._questions, self._admin = app, questions, admin

    def __call__(self, method: str, path: str, says: str) -> None:
        self._app.add_api_route(
            path,
            self._ask,
            methods=[method],
            dependencies=self._admin,
            name=f"{method} {path}",
            description=says,
            openapi_extra={"parameters": [_in_path(one) for one in _PARAMETER.findall(path)]},
        )

    async def _ask(self, request: Request) -> Response:
        if self._questions is None:
            raise HTTPException(404, ALONE)
        query = request.scope["query_string"].decode("latin-1")
        target = quote(request.scope["path"]) + (f"?{query}" if query else "")
        if len(target) > LONGEST_TEXT:
            raise HTTPException(414, f"a path of more than {LONGEST_TEXT} characters")
        try:
            status, body = await self._questions.api(request.method, target)
        except Unanswered as error:
            raise HTTPException(503, str(error), {"retry-after": RETRY_S}) from error
        kind = "application/json" if status < 400 else PROBLEM
        return Response(body, status, media_type=kind)


def _in_path(name: str) -> dict[str, Any]:
    """As OpenAPI describes it."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
