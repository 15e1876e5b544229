"""Insertion order and search text of clips; environment and monotonic heartbeat of jobs."""

import sqlalchemy as sa
from alembic import op

from engine.storage.search_text import normalised

revision = "0005"
down_revision = "0004"

BATCH = 5000
CLIPS = sa.table(
    "clips",
    sa.column("id", sa.String),
    sa.column("prompt", sa.Text),
    sa.column("created_at"),
    sa.column("search", sa.Text),
    sa.column("number", sa.Integer),
)


def upgrade() -> None:
    op.add_column("clips", sa.Column("search", sa.Text))
    op.add_column("clips", sa.Column("number", sa.Integer, server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("heartbeat_s", sa.Float))
    op.add_column("jobs", sa.Column("environment", sa.JSON))
    fill_clips(op.get_bind())
    op.create_index("ix_clips_number", "clips", ["number"])
    op.create_index("ix_clips_deleted_at_number_id", "clips", ["deleted_at", "number", "id"])


def fill_clips(connection: sa.Connection) -> None:
    """Number the clips by date, and write down how they are searched."""
    found = connection.execute(sa.select(CLIPS.c.id, CLIPS.c.prompt).order_by(CLIPS.c.created_at, CLIPS.c.id)).all()
    rows = [{"key": row.id, "text": normalised(row.prompt), "place": place} for place, row in enumerate(found, start=1)]
    change = sa.update(CLIPS).where(CLIPS.c.id == sa.bindparam("key"))
    change = change.values(search=sa.bindparam("text"), number=sa.bindparam("place"))
    for first in range(0, len(rows), BATCH):
        connection.execute(change, rows[first : first + BATCH])
