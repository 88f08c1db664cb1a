"""`Coordinators`: the API of whichever coordinator leads, or of edges, which ask that one."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import typer

from streamgen.errors import ConfigError, StreamGenError

TOKEN = "STREAMGEN_COORDINATOR_TOKEN"
DEFAULT = "http://127.0.0.1:7180"
WITHIN_S = 5.0
LARGEST = 256 << 20
WHERE = typer.Option(
    [DEFAULT],
    "--coordinator",
    envvar="STREAMGEN_COORDINATOR",
    help="URL of its API, or of any edge's; more than once where there are several. "
    f"{TOKEN} has its token.",
)


class Coordinators:
    def __init__(self, urls: Sequence[str], token: str | None = None) -> None:
        """Raises `ConfigError` for a URL that is none."""
        self._urls = [url.rstrip("/") for url in urls]
        for url in self._urls:
            if urlsplit(url).scheme not in ("http", "https"):
                raise ConfigError(f"not the URL of a coordinator: '{url}'")
        self._token = token or os.environ.get(TOKEN, "").strip()

    def nodes(self) -> dict[str, Any]:
        found = self._ask("GET", "/v1/nodes")
        assert isinstance(found, dict)
        return found

    def streams(self) -> list[dict[str, Any]]:
        found = self._ask("GET", "/v1/cluster/streams")
        assert isinstance(found, list)
        return found

    def drain(self, node: str, *, wanted: bool) -> dict[str, Any]:
        path = f"/v1/nodes/{quote(node, safe='')}/drain"
        found = self._ask("POST" if wanted else "DELETE", path)
        assert isinstance(found, dict)
        return found

    def _ask(self, method: str, path: str) -> Any:
        """Of the one that leads. Raises `StreamGenError`."""
        reasons = []
        for url in self._urls:
            request = urllib.request.Request(url + path, method=method)
            if self._token:
                request.add_header("authorization", f"Bearer {self._token}")
            try:
                with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
                    return json.loads(answer.read(LARGEST))
            except urllib.error.HTTPError as error:
                with error:
                    reason = detail(error)
                if error.code != 503:
                    raise StreamGenError(f"{url}: {reason}") from error
                reasons.append(f"{url}: {reason}")
            except (OSError, ValueError) as error:
                reasons.append(f"{url}: {getattr(error, 'reason', None) or error}")
        raise StreamGenError("no coordinator leads: " + "; ".join(reasons))


def detail(error: urllib.error.HTTPError) -> str:
    """Why, as `application/problem+json` has it."""
    try:
        return str(json.loads(error.read(4096))["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the status of its answer is {error.code}"
