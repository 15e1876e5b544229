"""Answers of AI labellers about pairs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "judge_votes",
        sa.Column("pair_id", sa.String(16), nullable=False),
        sa.Column("judge", sa.String(200), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("asked", sa.String(8), nullable=False),
        sa.Column("first", sa.String(3), nullable=False),
        sa.Column("second", sa.String(3), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pair_id", "judge", name="pk_judge_votes"),
        sa.ForeignKeyConstraint(["pair_id"], ["pairs.id"], name="fk_judge_votes_pair_id", ondelete="CASCADE"),
    )
