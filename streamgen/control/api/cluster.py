"""The REST API of a coordinator, and its page. A standby answers 503 to all that only a leader
knows; the page shows who leads. Edges pass on what they are asked of the cluster."""

from __future__ import annotations

import hmac
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteError

from streamgen import __version__
from streamgen.control import origin
from streamgen.control.api import views
from streamgen.control.api.door import PROBLEM, Door
from streamgen.control.api.jobs import Standings, standing_routes
from streamgen.control.api.metrics import ClusterMetrics
from streamgen.control.api.overview import Overview
from streamgen.control.api.pages import cluster_page
from streamgen.control.coordinator.cluster import Cluster
from streamgen.control.coordinator.office import Office
from streamgen.telemetry import Telemetry


def cluster_api(
    office: Office, jobs: Standings, telemetry: Telemetry, token: str | None, host: str
) -> Door:
    """The application. `token` lets in, by `Authorization: Bearer`; without one, this machine
    alone comes in. `host` is the name it is called by, beside localhost and numbers."""
    admin = [Depends(_admin(token))]
    app, metrics = _administered(office, jobs, admin), ClusterMetrics(office, telemetry)

    @app.get("/metrics", dependencies=admin)
    async def prometheus() -> Response:
        return Response(await metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/healthz")
    async def healthy() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def ready() -> dict[str, str]:
        _leading(office)
        return {"status": "ok"}

    return Door(cluster_page(), app, host)


def edges_api(office: Office, jobs: Standings) -> FastAPI:
    """What edges may ask, which have seen to it that an administrator does."""
    return _administered(office, jobs, [])


def _administered(office: Office, jobs: Standings, admin: list[Any]) -> FastAPI:
    app = FastAPI(title="streamgen coordinator", version=__version__, docs_url=None, redoc_url=None)
    _problems(app)
    standing_routes(app, jobs, admin)
    overview = Overview(office)

    @app.get("/v1/cluster", dependencies=admin)
    async def cluster(
        find: Annotated[str, Query(max_length=100)] = "",
        most: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        """All of it at a glance, from a standby, too."""
        return await overview.show(find, most)

    @app.get("/v1/nodes", dependencies=admin)
    async def nodes() -> dict[str, Any]:
        return views.nodes(office.desk, _leading(office), office.now_ms())

    @app.get("/v1/streams", dependencies=admin)
    @app.get("/v1/cluster/streams", dependencies=admin)
    async def streams() -> list[dict[str, Any]]:
        return views.streams(office.desk, _leading(office), office.now_ms())

    @app.post("/v1/nodes/{name}/drain", dependencies=admin, status_code=202)
    async def drain(name: str) -> dict[str, Any]:
        """Empty the node: nothing new comes to it, and what runs there leaves it."""
        return _drained(office, name, wanted=True)

    @app.delete("/v1/nodes/{name}/drain", dependencies=admin)
    async def leave_it(name: str) -> dict[str, Any]:
        return _drained(office, name, wanted=False)

    return app


def _leading(office: Office) -> Cluster:
    cluster = office.desk.coordinator.cluster
    if not office.leads() or cluster is None:
        raise HTTPException(503, "this coordinator stands by")
    return cluster


def _drained(office: Office, name: str, *, wanted: bool) -> dict[str, Any]:
    _leading(office)
    if not office.desk.drain(name, wanted, office.now_ms()):
        raise HTTPException(404, f"no node '{name}'")
    return {"name": name, "draining": wanted}


def _admin(token: str | None) -> Any:
    async def admin(request: Request) -> None:
        if token is None:
            headers = request.scope["headers"]
            here = request.client is not None and origin.is_loopback(request.client.host)
            if not here or origin.proxied(headers):
                raise HTTPException(403, "for this machine only, as there is no token")
            if not origin.is_loopback_name(origin.host(headers)):
                raise HTTPException(403, "for http://localhost only, as there is no token")
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            raise HTTPException(401, "a bearer token is needed", {"www-authenticate": "Bearer"})
        if not hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token.encode()):
            raise HTTPException(403, "this token may not administer")

    return admin


def _problems(app: FastAPI) -> None:
    """Errors as RFC 9457 wants them."""

    @app.exception_handler(StarletteError)
    async def refused(_: Request, error: StarletteError) -> JSONResponse:
        body = {"type": "about:blank", "status": error.status_code, "detail": str(error.detail)}
        return JSONResponse(body, error.status_code, error.headers, media_type=PROBLEM)
