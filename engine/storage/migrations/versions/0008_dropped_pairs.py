"""Pairs that were taken out of their campaign."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("pairs", sa.Column("dropped_at", sa.DateTime(timezone=True)))
