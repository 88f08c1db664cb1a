"""Logs as JSON lines on stderr: one object per event, with stream and session, without queries."""

from __future__ import annotations

import faulthandler
import json
import logging
import re
import sys
from datetime import UTC, datetime

_QUERY = re.compile(r"\?[^\s\"'<>]*")
_IDS = ("stream", "session", "worker")


class JsonLines(logging.Formatter):
    """What a URL says after its question mark may be a key: it is never written."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        row = {
            "at": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "from": record.name,
            "message": _QUERY.sub("?...", record.getMessage()),
        }
        row |= {key: getattr(record, key) for key in _IDS if hasattr(record, key)}
        if record.exc_info:
            row["trace"] = _QUERY.sub("?...", self.formatException(record.exc_info))
        return json.dumps(row, ensure_ascii=False)


def log_as_json(level: int = logging.INFO) -> None:
    """Send all logging of this process there; and, as it comes, where native code was when it took
    the process down."""
    faulthandler.enable(sys.stderr)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = True
