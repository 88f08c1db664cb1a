"""The REST API of one machine: streams, their parameters and pipelines, models, health, metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.exceptions import HTTPException as StarletteError

from streamgen import __version__
from streamgen.config import Settings
from streamgen.control.api.tallied import Found, Tallied, written
from streamgen.errors import ConfigError, StreamGenError
from streamgen.pipeline import load_pipeline, pipeline_value
from streamgen.plugins import models, pipeline_files
from streamgen.telemetry import Metrics
from streamgen_edge.asking import Refusal
from streamgen_edge.auth.administering import administrator
from streamgen_edge.cluster.questions import Questions
from streamgen_edge.cluster.routes import cluster_job_routes, cluster_routes
from streamgen_edge.events import Events, EventStream
from streamgen_edge.hooks.routes import hook_routes
from streamgen_edge.jobs import Board, job_routes
from streamgen_edge.knobs import knobs, refuse_wrong
from streamgen_edge.picture import NoPicture, Pictures
from streamgen_edge.publishing import Streams
from streamgen_edge.push.routes import push_routes
from streamgen_edge.recording.routes import recording_routes
from streamgen_edge.reference import reference_routes
from streamgen_edge.roots import Turned, paths, refuse_outside, usable_pipeline
from streamgen_edge.rtmp.publisher import Refused
from streamgen_edge.sharing import code_routes
from streamgen_edge.showing import Showing, shown
from streamgen_edge.stream import LiveStream

PROBLEM = "application/problem+json"
RETRY_S = 5
"""Where nobody knows when there will be room."""


class ParamsChange(Settings):
    """New values of one node's parameters."""

    node: str
    values: dict[str, Any] = Field(min_length=1)
    over: str = "0s"
    """Numbers move there in this much stream time."""


class PipelineChange(Settings):
    """Another pipeline: the name of a built-in one, or one as it stands in a file."""

    pipeline: str | dict[str, Any]


def api(
    streams: Streams,
    metrics: Metrics,
    ready: Callable[[], str | None],
    rtmp_port: Callable[[], int],
    jobs: Board | None = None,
    questions: Questions | None = None,
) -> FastAPI:
    """The application; `ready` gives the reason why not, or None, `rtmp_port` where encoders
    publish. `jobs` are those of the store, if there is one, `questions` are for the coordinator of
    the cluster, if this edge is in one."""
    app = FastAPI(title="streamgen", version=__version__, docs_url=None, redoc_url=None)
    _problems(app)
    reference_routes(app)
    admin = [Depends(administrator(streams))]
    _streams(app, streams, admin)
    _events(app, streams, admin)
    _picture(app, streams, admin)
    push_routes(app, streams, admin)
    recording_routes(app, streams, admin)
    hook_routes(app, streams, admin)
    code_routes(app, admin)
    if jobs is not None:
        job_routes(app, jobs, lambda: streams.server.media_roots, admin)
    else:
        cluster_job_routes(app, questions, admin)
    cluster_routes(app, questions, admin)
    _pipelines_of(app, streams, admin)
    _catalog(app, admin)
    _place(app, streams, rtmp_port, admin)
    _metrics(app, streams, metrics, jobs, admin)
    _health(app, ready)
    return app


def _found(streams: Streams, name: str) -> LiveStream:
    stream = streams.find(name)
    if stream is None:
        raise HTTPException(404, f"no stream '{name}'")
    return stream


def _row(streams: Streams, stream: LiveStream) -> dict[str, Any]:
    return {**shown(stream, streams.watching(stream.name)), "home": streams.viewers.edge}


def _streams(app: FastAPI, streams: Streams, admin: list[Any]) -> None:
    @app.get("/v1/streams", dependencies=admin)
    async def list_streams() -> list[dict[str, Any]]:
        others = (streams.viewers.row(one.name) for one in streams.viewers.all())
        return [*(_row(streams, stream) for stream in streams), *(row for row in others if row)]

    @app.get("/v1/streams/{name}", dependencies=admin)
    async def one_stream(name: str) -> dict[str, Any]:
        copy = streams.viewers.row(name)  # of another edge, which does not answer, say
        return copy or _row(streams, _found(streams, name))

    @app.delete("/v1/streams/{name}", dependencies=admin, status_code=204)
    async def end_stream(name: str) -> None:
        _found(streams, name).end()


def _events(app: FastAPI, streams: Streams, admin: list[Any]) -> None:
    events, again = Events(Showing(streams)), administrator(streams)

    @app.get("/v1/events", dependencies=admin, response_class=EventStream, status_code=200)
    async def told(request: Request, stream: str | None = None) -> Response:
        """How all streams do, once a second and when a state changes; all there is to know of one
        of them."""
        return events.answer(stream, lambda: again(request))


def _picture(app: FastAPI, streams: Streams, admin: list[Any]) -> None:
    pictures = Pictures()
    jpeg: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}

    @app.get(
        "/v1/streams/{name}/picture", dependencies=admin, response_class=Response, responses=jpeg
    )
    async def picture(name: str) -> Response:
        """The key frame of the newest segment, as JPEG; a new one once a second at most."""
        stream = await streams.viewers.demanded(name, hls=True) or _found(streams, name)
        packager = stream.viewing.packager
        try:
            if packager is None:
                raise NoPicture("there is no picture yet", 503)
            data = await pictures.jpeg(packager)
        except NoPicture as error:
            raise HTTPException(error.status, str(error), {"retry-after": "1"}) from error
        return Response(data, media_type="image/jpeg", headers={"cache-control": "no-store"})


def _pipelines_of(app: FastAPI, streams: Streams, admin: list[Any]) -> None:
    @app.get("/v1/streams/{name}/params", dependencies=admin)
    async def params(name: str) -> dict[str, Any]:
        stream = _found(streams, name)
        return {"version": stream.version, "nodes": knobs(stream.pipeline, stream.params)}

    @app.patch("/v1/streams/{name}/params", dependencies=admin)
    async def change_params(
        name: str, change: Annotated[ParamsChange, Body()], response: Response
    ) -> dict[str, Any]:
        stream = _found(streams, name)
        try:
            tenure = stream.tenure
            if tenure.live is None or tenure.replacement.renewing:  # else its worker says so
                refuse_wrong(stream.pipeline, stream.params, change.node, change.values)
            if not all(isinstance(value, int | float) for value in change.values.values()):
                _refuse_outside(streams, stream, stream.pipeline, {change.node: change.values})
            answer = await stream.change(change.node, change.values, change.over)
        except (Refusal, ConfigError) as error:
            raise HTTPException(422, str(error)) from error
        if answer["pts"] is None:
            response.status_code = 202
        return answer

    @app.put("/v1/streams/{name}", dependencies=admin)
    async def change_pipeline(
        name: str, change: Annotated[PipelineChange, Body()], response: Response
    ) -> dict[str, Any]:
        """For a stream that is not live: the pipeline of its next session (202)."""
        stream = streams.find(name)
        if (stream is None or stream.over) and streams.server.stream(name) is None:
            raise HTTPException(404, f"there is no stream '{name}' here")
        value = _usable(change.pipeline, name)
        if not isinstance(change.pipeline, str):
            try:
                _refuse_outside(streams, stream, value, {})
            except ConfigError as error:
                raise HTTPException(422, str(error)) from error
        if stream is None or stream.over:
            streams.choose(name, value)
            response.status_code = 202
            return {"name": name, "state": None, "pipeline": value}
        try:
            await streams.change(stream, value)
        except Refused as error:
            again = {"retry-after": str(error.wait_s or RETRY_S)}
            raise HTTPException(503, str(error), again) from error
        return _row(streams, stream)


def _refuse_outside(
    streams: Streams, stream: LiveStream | None, pipeline: dict[str, Any], turned: Turned
) -> None:
    """Raises `ConfigError` for files that only this machine's own files may name."""
    known = frozenset() if stream is None else paths(stream.pipeline, stream.params)
    refuse_outside(streams.server.media_roots, pipeline, turned, known)


def _usable(value: str | dict[str, Any], stream: str) -> dict[str, Any]:
    try:
        return usable_pipeline(value, stream)
    except StreamGenError as error:
        raise HTTPException(422, str(error)) from error


def _place(app: FastAPI, streams: Streams, rtmp_port: Callable[[], int], admin: list[Any]) -> None:
    @app.get("/v1/server", dependencies=admin)
    async def server() -> dict[str, Any]:
        """What a page must know to tell people where to publish."""
        rtmp = streams.server.rtmp
        return {
            "version": __version__,
            "pipeline": streams.server.pipeline,
            "rtmp": {"scheme": "rtmp" if rtmp.tls is None else "rtmps", "port": rtmp_port()},
            "keys": bool(streams.server.auth.publish_keys),
        }


def _metrics(
    app: FastAPI, streams: Streams, metrics: Metrics, jobs: Board | None, admin: list[Any]
) -> None:
    tallied = None if jobs is None else Tallied("streamgen", jobs.tally)

    @app.get("/metrics", dependencies=admin)
    async def prometheus() -> Response:
        of_jobs = () if tallied is None else await tallied.look()
        now = time.monotonic()
        for stream in streams.viewers.all():
            gauge = stream.telemetry.gauge
            gauge("viewers", "webrtc", streams.watching(stream.name))
            gauge("viewers", "hls", stream.viewing.audience.count(now))
        text = written(metrics, Found(of_jobs))
        return Response(text, media_type="text/plain; version=0.0.4")


def _health(app: FastAPI, ready: Callable[[], str | None]) -> None:
    @app.get("/healthz")
    async def healthy() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def is_ready() -> dict[str, str]:
        reason = ready()
        if reason is not None:
            raise HTTPException(503, reason)
        return {"status": "ok"}


def _catalog(app: FastAPI, admin: list[Any]) -> None:
    @app.get("/v1/pipelines", dependencies=admin)
    async def list_pipelines() -> list[dict[str, Any]]:
        rows = []
        for name in sorted(pipeline_files()):
            pipeline = load_pipeline(name)
            stages = [spec.stage for spec in pipeline.nodes()[0].values()]
            rows.append({"name": name, "description": pipeline.description, "stages": stages})
        return rows

    @app.get("/v1/pipelines/{name}", dependencies=admin)
    async def one_pipeline(name: str) -> dict[str, Any]:
        if name not in pipeline_files():
            raise HTTPException(404, f"no pipeline '{name}'")
        value = pipeline_value(name)
        return {
            "name": name,
            "description": value.get("description", ""),
            "nodes": knobs(value, {}),
            "pipeline": value,
        }

    @app.get("/v1/models", dependencies=admin)
    async def list_models() -> list[dict[str, Any]]:
        return [
            {
                "name": model.name,
                "kind": model.kind,
                "parameters": model.parameters,
                "precisions": sorted(model.files),
                "live": list(model.live),
                "license": model.license,
            }
            for model in models().values()
        ]


def _problems(app: FastAPI) -> None:
    """Errors as RFC 9457 wants them."""

    def problem(status: int, detail: str, headers: Any = None) -> JSONResponse:
        body = {"type": "about:blank", "status": status, "detail": detail}
        return JSONResponse(body, status, headers, media_type=PROBLEM)

    @app.exception_handler(StarletteError)
    async def refused(_: Request, error: StarletteError) -> JSONResponse:
        return problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return problem(422, f"{where}: {first['msg']}" if where else str(first["msg"]))
