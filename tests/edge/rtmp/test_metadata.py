from __future__ import annotations

import pytest

from streamgen_edge.rtmp import amf0
from streamgen_edge.rtmp.chunk_writer import chunked
from streamgen_edge.rtmp.limits import ProtocolError
from streamgen_edge.rtmp.messages import (
    DATA_AMF3,
)
from streamgen_edge.rtmp.metadata import Metadata

from . import client
from .client import (
    fed,
    publishing,
)


def test_metadata_is_reduced_to_plain_values() -> None:
    values = {
        "width": 1280,
        "nan": float("nan"),
        "inf": float("inf"),
        "encoder": "obs",
        "stereo": True,
        "evil": "a\nb",
        "long": "x" * 300,
        "nested": {"a": 1},
        **{f"k{n}": n for n in range(100)},
    }
    (event,) = fed(publishing(), client.metadata(values))
    assert isinstance(event, Metadata)
    assert len(event.values) == 64 and event.values["encoder"] == "obs"
    assert {"width", "stereo"} < set(event.values)
    assert not {"nan", "inf", "evil", "long", "nested"} & set(event.values)


def test_metadata_comes_in_amf3_and_without_its_frame_too() -> None:
    session = publishing()
    bare = amf0.encode(["onMetaData", {"width": 2}])
    (event,) = fed(session, chunked(5, DATA_AMF3, 1, b"\0" + bare, 128))
    assert event == Metadata({"width": 2.0})
    assert fed(session, chunked(5, 18, 1, amf0.encode(["onTextData", {"a": 1}]), 128)) == []


def test_metadata_of_a_megabyte_is_refused_or_read_but_not_kept() -> None:
    body = amf0.encode(["onMetaData", {f"key{n}": "x" * 200 for n in range(4800)}])
    (event,) = fed(publishing(), chunked(5, 18, 1, body, 128))
    assert isinstance(event, Metadata) and len(event.values) == 64
    with pytest.raises(ProtocolError):
        fed(publishing(), chunked(5, 18, 1, body + body, 128))
