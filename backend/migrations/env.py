"""Runs the steps on the connection it is handed; see `backend.bootstrap.migrations`."""

from alembic import context
from sqlalchemy.engine import Connection

from backend.bootstrap.tables import METADATA

connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
