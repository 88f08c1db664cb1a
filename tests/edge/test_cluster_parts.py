"""Workers of a cluster need not all have the same plugins."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.control.test_outfit import WHOLE, plugin
from tests.edge.clustered import PLAIN, Processes, edge, processes, until


def test_a_stream_goes_to_the_worker_that_has_its_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    plugin(site, "clustered_tint", WHOLE)
    monkeypatch.syspath_prepend(site)

    async def main(some: Processes) -> None:
        some.coordinator(0)
        some.worker("plain")
        async with edge(tmp_path / "a", "edge-a", some.places) as one:
            await until(lambda: len(one.link.workers) == 1, "the worker without the plugin")
            some.worker("tints", PYTHONPATH=str(site))
            await until(lambda: len(one.link.workers) == 2, "the worker with it")
            streams = [
                one.publish("tinted", PLAIN | {"name": "tinted", "stages": ["tint"]}),
                one.publish("bare"),
            ]
            for stream in streams:
                await stream.moves()
            assert streams[0].worker == "tints"
            assert "tinted" not in (tmp_path / "plain.log").read_text(encoding="utf-8")

    with processes(tmp_path) as some:
        asyncio.run(main(some))
