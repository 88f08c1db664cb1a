"""Processes are kept from piece to piece: to start one costs a second of work."""

from __future__ import annotations

import asyncio
from pathlib import Path

from streamgen.control.jobs.order import JobOrder
from streamgen.control.jobs.submitting import submit
from streamgen.control.jobs.working import Workshop
from streamgen.control.store import Store
from streamgen.testing import synthetic_clip
from tests.control.chunks.work import FAST, child_processes


def test_who_makes_one_piece_at_a_time_has_one_process_make_them_all(tmp_path: Path) -> None:
    clip = synthetic_clip(tmp_path / "in.mp4", width=96, height=64, frames=500)
    output = tmp_path / "out.mp4"
    seen: set[int] = set()

    async def work() -> None:
        async with Store(f"sqlite:///{tmp_path / 'state.db'}", lambda: 1) as store:
            order = JobOrder(pipeline=FAST, input=str(clip), output=str(output), ladder=False)
            job = await submit(store, order, now_ms=1)
            assert job.facts["order"]["pieces"] > 1
            shop = Workshop(store, "one", processes=1, wait=False, yields=False)
            working = asyncio.create_task(shop.run())
            while not working.done():
                seen.update(child_processes())
                await asyncio.sleep(0.01)
            await working
            assert shop.pieces == job.facts["order"]["pieces"]

    asyncio.run(work())
    assert output.exists()
    assert len(seen) == 1
