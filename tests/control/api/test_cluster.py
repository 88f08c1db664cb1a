"""The coordinator's HTTP: for whom it is, and what a standby says."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streamgen.cli import app

pytest.importorskip("fastapi")
pytest.importorskip("zmq")

from streamgen.control.api.cluster import cluster_api
from streamgen.control.api.server import served
from streamgen.control.coordinator.office import Office
from streamgen.control.jobs.board import JobBoard
from streamgen.control.keys import new_key
from streamgen.control.store import Store
from streamgen.control.store.late import LateStore
from streamgen.telemetry import MonotonicClock, Telemetry
from tests.control.coordinator.acting import until

TOKEN = "a token of some length"


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def jobs(folder: Path) -> JobBoard:
    """Those of nobody's store: it is not opened."""
    return JobBoard(LateStore(f"sqlite:///{folder / 'jobs.db'}", wall_ms))


@asynccontextmanager
async def office(folder: Path) -> AsyncIterator[Office]:
    one = Office(
        "me",
        lambda: Store(f"sqlite:///{folder / 'state.db'}", wall_ms),
        str(folder / "wire"),
        key=new_key(folder / "key"),
        known=None,
        ttl_ms=20_000,
        clock=MonotonicClock(),
        telemetry=Telemetry(),
    )
    task = asyncio.create_task(one.run())
    yield one
    task.cancel()
    await asyncio.wait([task])


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        text = answer.read()
        is_json = answer.headers.get_content_subtype().endswith("json")
        return answer.status, json.loads(text) if is_json else text.decode()
    finally:
        connection.close()


def test_a_leader_answers_this_machine_and_nobody_in_its_name(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            office(tmp_path) as one,
            served(
                cluster_api(one, jobs(tmp_path), Telemetry(), None, "127.0.0.1"), "127.0.0.1", 0
            ) as port,
        ):
            await until(one.leads, "it leads")

            async def status(path: str, method: str = "GET", **headers: str) -> int:
                return (await asyncio.to_thread(ask, port, path, method, **headers))[0]

            for path in ("/v1/nodes", "/v1/streams", "/metrics", "/healthz", "/readyz"):
                assert await status(path) == 200
            assert await status("/v1/nodes", host="localhost") == 200
            assert await status("/v1/nodes", host="elsewhere.example") == 421
            assert await status("/v1/nodes", origin="http://elsewhere.example") == 403
            assert await status("/v1/nodes", sec_fetch_site="cross-site") == 403
            assert await status("/v1/nodes", x_forwarded_for="10.0.0.1") == 403
            assert await status("/v1/nodes", host="10.0.0.1") == 403
            assert await status("/v1/nodes/nobody/drain", "POST") == 404
            assert await status("/v1/nodes/nobody/drain", "DELETE") == 404

    asyncio.run(work())


def test_with_a_token_nobody_comes_in_without(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            office(tmp_path) as one,
            served(
                cluster_api(one, jobs(tmp_path), Telemetry(), TOKEN, "127.0.0.1"), "127.0.0.1", 0
            ) as port,
        ):
            await until(one.leads, "it leads")

            async def status(path: str, **headers: str) -> int:
                return (await asyncio.to_thread(ask, port, path, "GET", **headers))[0]

            assert await status("/v1/nodes") == 401
            assert await status("/metrics") == 401
            assert await status("/v1/nodes", authorization=f"Bearer {TOKEN}x") == 403
            assert await status("/v1/nodes", authorization=f"Bearer {TOKEN}") == 200
            assert await status("/readyz") == 200

    asyncio.run(work())


def test_a_standby_is_healthy_but_not_ready_and_knows_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        (tmp_path / "other").mkdir()
        async with office(tmp_path) as leader:
            await until(leader.leads, "one leads")
            one = Office(
                "other",
                lambda: Store(f"sqlite:///{tmp_path / 'state.db'}", wall_ms),
                str(tmp_path / "other" / "wire"),
                key=new_key(tmp_path / "other" / "key"),
                known=None,
                ttl_ms=20_000,
                clock=MonotonicClock(),
                telemetry=Telemetry(),
            )
            api = cluster_api(one, jobs(tmp_path), Telemetry(), None, "127.0.0.1")
            task = asyncio.create_task(one.run())
            async with served(api, "127.0.0.1", 0) as port:
                for path, wanted in (
                    ("/healthz", 200),
                    ("/readyz", 503),
                    ("/v1/nodes", 503),
                    ("/v1/streams", 503),
                    ("/metrics", 200),
                ):
                    status, told = await asyncio.to_thread(ask, port, path)
                    assert status == wanted
                assert "streamgen_coordinator_leader 0.0" in told
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(work())


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ([], "either --listen HOST:PORT or --folder"),
        (["--listen", "127.0.0.1:7100"], "nobody comes in without"),
        (["--listen", "nowhere"], "not where a coordinator is"),
        (["--folder", "{}/f", "--http", "0.0.0.0:7180"], "without a token"),
        (["--folder", "{}/f", "--http", "host:port"], "not where an API can be"),
        (["--folder", "{}/f", "--lease", "1h"], "--lease"),
        (["--folder", "{}/f", "--lease", "100ms"], "1s to 60s"),
        (["--folder", "{}/f", "--peers", "{}/p"], "--peers goes with --listen"),
        (["--folder", "{}/f", "--token-file", "{}/none"], "cannot read the token"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, wrong: list[str], reason: str) -> None:
    words = [word.replace("{}", str(tmp_path)) for word in wrong]
    line = ["coordinator", "--store", f"sqlite:///{tmp_path / 'state.db'}", *words]
    answer = CliRunner().invoke(app, line)
    assert answer.exit_code == 2
    assert reason in answer.output
