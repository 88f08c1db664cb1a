"""The cluster's memory: streams, leases, nodes, jobs, events and the outbox, in SQL.

SQLite (WAL) in one file by default, PostgreSQL by URL. Frames, packets and figures of single frames
never come here.
"""

from streamgen.control.notices import Notice
from streamgen.control.store.rows import (
    Chunk,
    Claim,
    Event,
    Home,
    Job,
    Lease,
    Node,
    Stream,
)
from streamgen.control.store.store import Store

__all__ = [
    "Chunk",
    "Claim",
    "Event",
    "Home",
    "Job",
    "Lease",
    "Node",
    "Notice",
    "Store",
    "Stream",
]
