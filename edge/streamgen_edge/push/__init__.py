"""Push: live streams sent on to other servers, by RTMP(S) or WHIP, each from its own process.

In the edge: `pushes` (where a stream goes), `push` (one target), `backlog` (what it is behind).
In the process: `sender` (tries, and tries again), `rtmp` and `whip` (one connection each).
"""
