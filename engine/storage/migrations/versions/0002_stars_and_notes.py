"""Stars of clips, and notes made during generation."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("clips", sa.Column("starred", sa.Boolean, server_default=sa.false(), nullable=False))
    op.add_column("clips", sa.Column("notes", sa.JSON))
