"""Alembic's way in: always on the connection that `store.engine.migrate` hands over."""

from alembic import context

from peilmerk_gateway.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite changes a table by copying it; this writes such migrations so that they run on both.
    render_as_batch=True,
)
context.run_migrations()
