"""More processes for WHEP viewers than the edge, once that is busy: each viewer costs the same core
work for every packet, and one process has one core.

The edge goes on to be the only one that listens to HTTP. It says who may watch, picks the process
of each new viewer, and hands it the request, and later what is asked of the session; the process
answers, and sends the media by its own sockets. Of each stream it gets the tracks that its viewers
have, once, however many they are.
"""

from streamgen_edge.egress.spread import Spread

__all__ = ["Spread"]
