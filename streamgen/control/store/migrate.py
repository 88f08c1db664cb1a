"""Bring the tables up to date, once, whoever of several processes comes first."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from streamgen.control.store.database import Database
from streamgen.errors import ConfigError

SCRIPTS = Path(__file__).with_name("migrations")
LOCK = 0x73747267656E
"""PostgreSQL's advisory lock of those who migrate; SQLite's transactions exclude each other."""


async def migrate(database: Database) -> None:
    """Up to this release's tables. Raises `ConfigError` if they are a newer release's, and
    `StoreError`."""

    async def work(connection: AsyncConnection) -> None:
        if not database.lite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        await connection.run_sync(_upgrade)

    await database.attempted(work)


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    here = MigrationContext.configure(connection).get_current_revision()
    if here is not None and here not in {script.revision for script in scripts.walk_revisions()}:
        raise ConfigError(f"store: its tables are of a newer release ({here})")
    if here != scripts.get_current_head():
        command.upgrade(config, "head")
