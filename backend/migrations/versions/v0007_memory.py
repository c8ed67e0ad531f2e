"""What agents remember."""

import sqlalchemy as sa
from alembic import op

from backend.core.db.tables import Moment
from backend.features.memory.word_index import WORDS

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_INDEXED = (
    ["agent_id"],
    ["chat_id"],
    ["created_at"],
    ["user_id", "agent_id", "number"],
    ["user_id", "agent_id", "fingerprint", "number"],
)


def upgrade() -> None:
    """Go one step forward."""
    op.create_table(
        "memories",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=False),
        sa.Column("chat_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("fingerprint", sa.String(length=16), nullable=True),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_memories_agent_id_agents"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["chat_id"], ["chats.id"], name=op.f("fk_memories_chat_id_chats"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memories_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_memories")),
        sa.UniqueConstraint("id", name=op.f("uq_memories_id")),
        sa.UniqueConstraint("user_id", "agent_id", "digest", name=op.f("uq_memories_user_id_agent_id_digest")),
        sqlite_autoincrement=True,
    )
    for columns in _INDEXED:
        op.create_index(op.f(f"ix_memories_{'_'.join(columns)}"), "memories", columns, unique=False)
    connection = op.get_bind()
    for statement in WORDS.make(connection.dialect.name):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    """Go one step back."""
    connection = op.get_bind()
    for statement in WORDS.drop(connection.dialect.name):
        connection.exec_driver_sql(statement)
    for columns in _INDEXED:
        op.drop_index(op.f(f"ix_memories_{'_'.join(columns)}"), table_name="memories")
    op.drop_table("memories")
