"""An RTSP server on loopback, run by Debian's Python: port and pipeline as arguments.

Says `ready` when it listens; ends with its standard input.
"""

import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402  (versions come first)

END = Gst.QueryType.SEGMENT, Gst.QueryType.DURATION


def configured(factory, media):
    """Announce no end, as a camera does: GStreamer's client leaves at an announced one by its own
    clock, and loses what a server that is late has yet to send."""
    for name in ("pay0", "pay1"):
        payer = media.get_element().get_by_name(name)
        if payer is not None:
            payer.get_static_pad("src").add_probe(Gst.PadProbeType.QUERY_UPSTREAM, asked)


def asked(pad, info):
    return Gst.PadProbeReturn.DROP if info.get_query().type in END else Gst.PadProbeReturn.OK


Gst.init(None)
loop = GLib.MainLoop()
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(sys.argv[2])
if "name=depay0" in sys.argv[2]:
    factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
factory.connect("media-configure", configured)
server.get_mount_points().add_factory("/x", factory)
server.attach(None)
print("ready", flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
loop.run()
