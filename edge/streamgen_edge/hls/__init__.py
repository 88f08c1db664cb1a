"""The LL-HLS endpoint: plain ASGI over `streamgen.deliver.live`."""

from streamgen_edge.hls.app import Authorize, HlsApp, Limits, Viewer, hls_app, nowhere

__all__ = ["Authorize", "HlsApp", "Limits", "Viewer", "hls_app", "nowhere"]
