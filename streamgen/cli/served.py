"""`ServedJobs`: the jobs of a server, by its API."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, urlsplit

from streamgen.cli.asking import LARGEST, detail
from streamgen.errors import ConfigError, StreamGenError

TOKEN = "STREAMGEN_SERVER_TOKEN"
WITHIN_S = 30.0
READS_WITHIN_S = 600.0
"""A file that is submitted is read from end to end before there is an answer."""
MOST = 1000
"""Jobs that a server lists."""


class ServedJobs:
    """As `control.jobs.board.JobBoard` has them. Each question is one request, and waits for it."""

    def __init__(self, url: str) -> None:
        """Raises `ConfigError` for a URL that is none."""
        self._url = url.rstrip("/")
        if urlsplit(self._url).scheme not in ("http", "https"):
            raise ConfigError(f"not the URL of a server: '{url}'")
        self._token = os.environ.get(TOKEN, "").strip()

    async def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("GET", f"?limit={MOST}")
        return found

    async def row(self, name: str) -> dict[str, Any] | None:
        return self._one("GET", name)

    async def cancel(self, name: str) -> dict[str, Any] | None:
        return self._one("DELETE", name)

    def submit(self, **request: Any) -> dict[str, Any]:
        """Raises `StreamGenError` where the server refuses it."""
        found: dict[str, Any] = self._ask("POST", "", request)
        return found

    def _one(self, method: str, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._ask(method, f"/{quote(name, safe='')}")
        except _Missing:
            return None
        return found

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(f"{self._url}/v1/jobs{path}", method=method)
        if self._token:
            request.add_header("authorization", f"Bearer {self._token}")
        if body is not None:
            request.add_header("content-type", "application/json")
            request.data = json.dumps(body).encode()
        within_s = WITHIN_S if body is None else READS_WITHIN_S
        try:
            with urllib.request.urlopen(request, timeout=within_s) as answer:
                return json.loads(answer.read(LARGEST))
        except urllib.error.HTTPError as error:
            with error:
                reason = detail(error)
            if error.code == 404 and reason.startswith("there is no job"):
                raise _Missing from error
            raise StreamGenError(f"{self._url}: {reason}") from error
        except (OSError, ValueError) as error:
            reason = str(getattr(error, "reason", None) or error)
            raise Unreachable(f"{self._url}: {reason}") from error


class Unreachable(StreamGenError):
    """The server does not answer at all."""


class _Missing(StreamGenError): ...
