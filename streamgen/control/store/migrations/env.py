"""Alembic's door: runs in the transaction that `migrate` has begun."""

from alembic import context

from streamgen.control.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
