"""Where missing elements come from, checked against Debian's own list."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from streamgen.gstreamer.packages import PACKAGES, package_of
from streamgen.gstreamer.process import name_of

NAMED = """
srtsrc srtsink rtspsrc v4l2src udpsrc tsdemux mpegtsmux matroskamux flvmux x264enc voaacenc
aacparse h264parse h265parse opusparse rtph264depay rtpjitterbuffer videoconvert parsebin
decklinkvideosrc tcpclientsrc rtmp2sink dvbsrc ximagesrc avdec_h264 alsasrc opusenc pulsesrc
"""


@pytest.mark.skipif(shutil.which("apt-cache") is None, reason="no apt-cache")
def test_an_element_is_in_the_package_that_is_named_for_it() -> None:
    packages = sorted(set(PACKAGES.values()))
    told = subprocess.run(["apt-cache", "show", *packages], capture_output=True, text=True).stdout
    homes: dict[str, set[str]] = {}
    for entry in told.split("\n\n"):
        package = re.search(r"^Package: (\S+)", entry, re.MULTILINE)
        elements = re.search(r"^Gstreamer-Elements: (.*)", entry, re.MULTILINE)
        for element in elements[1].split(", ") if package and elements else ():
            homes.setdefault(element, set()).add(package[1] if package else "")
    if not homes:
        pytest.skip("apt knows no packages")
    known = [element for element in NAMED.split() if element in homes]
    for element in known:
        assert package_of(element).rpartition(" ")[2] in homes[element], element


def test_what_debian_does_not_have_is_said_so() -> None:
    assert "gst-plugins-rs" in package_of("ndisrc")
    assert "is it spelled right" in package_of("srcsrt")


@pytest.mark.parametrize(
    ("text", "sink"),
    [
        ("gst:srtsrc uri=srt://a passphrase=secret", "gst:srtsrc"),
        ("gst:video. ! q ! srtsink passphrase=secret", "gst:srtsink"),
        ("gst:identity name=x ! tee", "gst:identity"),
        ("gst: =secret", "gst:..."),
        ('gst:"secret" ! !', "gst:..."),
    ],
)
def test_a_pipeline_is_called_by_its_end(text: str, sink: str) -> None:
    assert name_of(text, sink=True) == sink
    assert "secret" not in name_of(text)
