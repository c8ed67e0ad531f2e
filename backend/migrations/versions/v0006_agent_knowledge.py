"""How agents use their documents, how many passages a term is in, and messages by their id."""

import sqlalchemy as sa
from alembic import op

from backend.core.db.tables import Json
from backend.features.knowledge.keyword_search import vocabulary

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go one step forward."""
    op.add_column("agents", sa.Column("knowledge", Json, server_default="{}", nullable=False))
    op.create_index(op.f("ix_messages_id"), "messages", ["id"], unique=False)
    connection = op.get_bind()
    for statement in vocabulary(connection.dialect.name):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    """Go one step back."""
    connection = op.get_bind()
    if vocabulary(connection.dialect.name):
        connection.exec_driver_sql("drop table chunk_terms_vocabulary")
    op.drop_index(op.f("ix_messages_id"), table_name="messages")
    op.drop_column("agents", "knowledge")
