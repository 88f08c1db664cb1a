"""The tables. A change here needs a migration beside it; a test compares the two."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from streamgen.control.notices import Notice
from streamgen.control.store.rows import (
    Chunk,
    Event,
    Home,
    Job,
    Node,
    Row,
    Stream,
)

metadata = MetaData()

nodes = Table(
    "nodes",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("facts", JSON, nullable=False),
    Column("version", BigInteger, nullable=False),
)
streams = Table(
    "streams",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("session", String(64), nullable=False),
    Column("facts", JSON, nullable=False),
    Column("version", BigInteger, nullable=False),
)
homes = Table(
    "homes",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("edge", String(64), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("passport", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
)
leases = Table(
    "leases",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("owner", String(128), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("token", String(32), nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)
jobs = Table(
    "jobs",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("key", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("version", BigInteger, nullable=False),
    UniqueConstraint("key", name="jobs_key"),
)
OPEN = text("state IN ('waiting', 'claimed')")
chunks = Table(
    "chunks",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("priority", Integer, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("state", String(16), nullable=False, server_default="waiting"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("owner", String(128), nullable=False, server_default=""),
    Column("expires_ms", BigInteger, nullable=False, server_default="0"),
    Column("result", JSON, nullable=True),
    # Finished chunks are not looked through again: the index stays as small as the work to do.
    Index("chunks_open", "priority", "job", "number", sqlite_where=OPEN, postgresql_where=OPEN),
)
events = Table(
    "events",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("about", String(128), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("body", JSON, nullable=False),
)
outbox = Table(
    "outbox",
    metadata,
    # The store counts: edges' clocks need not agree on what came first.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("target", String(64), nullable=False),
    Column("event", String(64), nullable=False),
    Column("about", String(128), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("body", JSON, nullable=False),
    UniqueConstraint("target", "event", name="outbox_once"),
    Index("outbox_order", "target", "about", "number"),
)

TABLES: dict[type[Row], Table] = {
    Node: nodes,
    Stream: streams,
    Home: homes,
    Job: jobs,
    Chunk: chunks,
    Event: events,
    Notice: outbox,
}
