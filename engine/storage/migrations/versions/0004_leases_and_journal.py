"""Device leases of jobs, their priority, and a journal of their states."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("priority", sa.Integer, server_default="0", nullable=False))
    op.create_table(
        "leases",
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("device", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("part", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("job_id", sa.String(8), nullable=False),
        sa.PrimaryKeyConstraint("host", "device", "part", name="pk_leases"),
        of_job("leases"),
    )
    op.create_index("ix_leases_job_id", "leases", ["job_id"])
    op.create_table(
        "journal",
        sa.Column("number", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("job_id", sa.String(8), nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_journal"),
        of_job("journal"),
    )
    op.create_index("ix_journal_job_id", "journal", ["job_id"])


def of_job(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=f"fk_{table}_job_id", ondelete="CASCADE")
