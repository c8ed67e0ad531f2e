"""history."""

import sqlalchemy as sa
from alembic import op

from backend.core.db.tables import Json, Moment
from backend.features.history.search import postgresql_index, sqlite_index

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Go one step forward."""
    _make_chats()
    _make_messages()
    op.create_table(
        "history_switches",
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("subject_id", name=op.f("pk_history_switches")),
    )
    op.create_table(
        "kept_replies",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("chat_id", sa.Uuid(), nullable=True),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["chat_id"], ["chats.id"], name=op.f("fk_kept_replies_chat_id_chats"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_kept_replies_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "idempotency_key", name=op.f("pk_kept_replies")),
    )
    op.create_index(op.f("ix_kept_replies_chat_id"), "kept_replies", ["chat_id"], unique=False)
    op.create_index(op.f("ix_kept_replies_created_at"), "kept_replies", ["created_at"], unique=False)
    statements = postgresql_index() if op.get_bind().dialect.name == "postgresql" else sqlite_index()
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)


def _make_chats() -> None:
    op.create_table(
        "chats",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("agent_id", sa.Uuid(), nullable=True),
        sa.Column("model", sa.String(length=600), nullable=False),
        sa.Column("external_id", sa.String(length=100), nullable=True),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.Column("last_turn_id", sa.Uuid(), nullable=True),
        sa.Column("last_answer_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("updated_at", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["agent_id"], ["agents.id"], name=op.f("fk_chats_agent_id_agents"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_chats_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_chats")),
        sa.UniqueConstraint("id", name=op.f("uq_chats_id")),
    )
    _index("ix_chats_user_id_external_id", "chats", ["user_id", "external_id"], "external_id IS NOT NULL", unique=True)
    _index("ix_chats_agent_id", "chats", ["agent_id"], "agent_id IS NOT NULL")
    op.create_index(
        op.f("ix_chats_user_id_updated_at_number"), "chats", ["user_id", "updated_at", "number"], unique=False
    )


def _make_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("chat_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("thinking", sa.Text(), nullable=False),
        sa.Column("tool_calls", Json, nullable=False),
        sa.Column("llm_model", sa.String(length=600), nullable=True),
        sa.Column("llm_provider", sa.String(length=100), nullable=True),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("error", sa.String(length=500), nullable=True),
        sa.Column("sources", Json, nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("completion_tokens", sa.Integer(), nullable=True),
        sa.Column("ms", sa.Integer(), nullable=True),
        sa.Column("prefix_hash", sa.LargeBinary(length=16), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("finished_at", Moment(), nullable=True),
        sa.ForeignKeyConstraint(["chat_id"], ["chats.id"], name=op.f("fk_messages_chat_id_chats"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_messages")),
        sa.UniqueConstraint("chat_id", "seq", name=op.f("uq_messages_chat_id_seq")),
    )
    _index("ix_messages_prefix_hash_number", "messages", ["prefix_hash", "number"], "prefix_hash IS NOT NULL")
    _index("ix_messages_pending", "messages", ["created_at"], "status = 'pending'")


def _index(name: str, table: str, columns: list[str], rows: str, *, unique: bool = False) -> None:
    where = sa.text(rows)
    op.create_index(op.f(name), table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Go one step back."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE history_search")
    for table in ("kept_replies", "history_switches", "messages", "chats"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE history_search_queue")
