"""File names of imported clips."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("clips", sa.Column("file", sa.String(255)))
