"""The API of a real server asked all that its OpenAPI allows, and what it does not: never a 5xx."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.live.serving import FFMPEG, Publisher, Server

_CASES = re.compile(r"(\d+) generated")


def asked(seconds: float, kept: Path) -> dict[str, object]:
    """Ask for about so long; what was said is written to `kept`/api.log."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        recording = f"recording: {{folder: {folder}/kept}}"
        server = Server(Path(folder), "--pipeline", "transcode", config=recording)
        publisher = None if FFMPEG is None else Publisher(server, "cam", seconds=seconds + 60)
        try:
            url = f"http://127.0.0.1:{server.http}/openapi.json"
            text = _schemathesis(url, seconds / 2, Path(folder), named="cam")
            text += _schemathesis(url, seconds / 2, Path(folder))
            text += f"\n\n{server.log()}"
            alive = server.process.poll() is None and _healthy(server)
        finally:
            if publisher is not None:
                publisher.close()
            server.stop()
    kept.mkdir(parents=True, exist_ok=True)
    (kept / "api.log").write_text(text)
    broke = not alive or "Traceback" in text or "Server error" in text
    cases = sum(int(number) for number in _CASES.findall(text))
    took = round(time.monotonic() - began, 1)
    return {"target": "api", "seconds": took, "executions": cases, "broke": int(broke)}


def _healthy(server: Server) -> bool:
    try:
        return server.get("/healthz")[0] == 200
    except OSError:
        return False


def _schemathesis(url: str, seconds: float, folder: Path, named: str = "") -> str:
    """Of streams of any name, or of this one only, which is not ended then."""
    config = folder / "schemathesis.toml"
    config.write_text(f'[parameters]\n"path.name" = "{named}"\n' if named else "")
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(config)]
    command += ["run", url, "--checks", "not_a_server_error", "--mode", "all"]
    command += ["--max-time", f"{seconds:.0f}", *(["--exclude-method", "DELETE"] if named else [])]
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds + 120,
        check=False,
    )
    return done.stdout
