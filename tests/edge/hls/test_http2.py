"""With TLS, the ladder is served by HTTP/2, blocked reloads included."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

pytest.importorskip("granian", reason="granian is not installed")

from streamgen_edge.hls import hls_app
from streamgen_edge.hls.http2 import Http2Server
from tests.certificates import certified, needs_openssl
from tests.deliver.live_packets import mixed

from .conftest import SESSION, Line, everybody, packaged

pytestmark = [
    needs_openssl,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]
SAY = "%{http_version} %{http_code} %{size_download}\n"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key of localhost."""
    return certified(tmp_path_factory.mktemp("tls"), "localhost")


async def fetch(*options: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sk", "-o", "/dev/null", "-w", SAY, *options, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return said.decode().split()


def test_media_and_blocked_reloads_come_by_http_2_and_by_http_1(
    lines: tuple[Line, ...], secrets: tuple[Path, Path]
) -> None:
    packager = packaged(lines, until_s=5)
    rest = [p for p in mixed(*(packets for _, packets in lines)) if 5 <= p.time_s < 6]

    async def run() -> None:
        app = hls_app({"cam": packager}, everybody)
        server = Http2Server(app, "127.0.0.1", 0, cert=secrets[0], key=secrets[1])
        await server.start()
        url = f"https://127.0.0.1:{server.port}/hls/cam/{SESSION}/180p"
        size = packager.renditions["180p"].window.pieces[4].size_bytes
        assert await fetch("--http2", f"{url}/4.m4s") == ["2", "200", str(size)]
        assert await fetch("--http1.1", f"{url}/4.m4s") == ["1.1", "200", str(size)]
        held = asyncio.create_task(fetch("--http2", f"{url}/index.m3u8?_HLS_msn=6&_HLS_part=1"))
        await asyncio.sleep(0.3)
        assert not held.done()
        for packet in rest:
            packager.write(packet)
        assert (await asyncio.wait_for(held, 2))[:2] == ["2", "200"]
        await server.close(5)
        assert server.ended.is_set()

    asyncio.run(run())
