"""keys know the key they were made with."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go one step forward."""
    op.add_column("api_keys", sa.Column("created_with", sa.Uuid(), nullable=True))
    op.create_index(op.f("ix_api_keys_created_with"), "api_keys", ["created_with"], unique=False)


def downgrade() -> None:
    """Go one step back."""
    op.drop_index(op.f("ix_api_keys_created_with"), table_name="api_keys")
    op.drop_column("api_keys", "created_with")
