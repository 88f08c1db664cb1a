"""What comes over the control socket is a message of ours, or a `LinkError`."""

from __future__ import annotations

import pytest

from streamgen.control.wire import decoded, encoded
from streamgen.media.envelope import LinkError


def test_what_is_said_is_what_is_heard() -> None:
    message = {"type": "credit", "bytes": 5, "ms": 12.25, "stream": None}
    assert decoded(encoded(message)) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"type": 1}',
        b"\xff",
        b"[" * 100_000,
        b'{"type": "beat", "pid": 1e999}',
        b'{"type": "beat", "pid": NaN}',
        b'{"type": "beat", "pid": -Infinity}',
        b'{"type": "beat", "pid": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_message_is_an_error_of_the_link(data: bytes) -> None:
    with pytest.raises(LinkError):
        decoded(data)
