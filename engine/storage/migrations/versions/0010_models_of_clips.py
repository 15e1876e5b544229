"""Indexes for the models and adapters that a library can be filtered by."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    for column in ("model", "adapter"):
        op.create_index(f"ix_clips_deleted_at_{column}", "clips", ["deleted_at", column])
