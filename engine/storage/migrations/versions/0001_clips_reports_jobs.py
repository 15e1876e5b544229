"""Clips, their reports, and jobs.

Written out rather than taken from `engine.storage.schema`, which keeps changing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    make_clips()
    make_reports()
    make_jobs()


def make_clips() -> None:
    op.create_table(
        "clips",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("model", sa.String(200)),
        sa.Column("adapter", sa.String(200)),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("request", sa.JSON),
        sa.Column("num_frames", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("fps", sa.Float, nullable=False),
        sa.Column("seed", sa.BigInteger),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("deleted_at", MOMENT),
        sa.Column("mix", sa.String(200)),
        sa.Column("total", sa.Float),
        sa.Column("parts", sa.JSON),
        sa.PrimaryKeyConstraint("id", name="pk_clips"),
    )
    op.create_index("ix_clips_deleted_at_created_at_id", "clips", ["deleted_at", "created_at", "id"])
    op.create_index("ix_clips_deleted_at_total_id", "clips", ["deleted_at", "total", "id"])


def make_reports() -> None:
    op.create_table(
        "reports",
        sa.Column("clip_id", sa.String(16), nullable=False),
        sa.Column("mix", sa.String(200), nullable=False),
        sa.Column("report", sa.JSON, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("clip_id", "mix", name="pk_reports"),
        sa.ForeignKeyConstraint(["clip_id"], ["clips.id"], name="fk_reports_clip_id", ondelete="CASCADE"),
    )


def make_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("number", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("id", sa.String(8), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("resources", sa.JSON, nullable=False),
        sa.Column("result", sa.JSON),
        sa.Column("progress", sa.JSON),
        sa.Column("error", sa.Text),
        sa.Column("exit_code", sa.Integer),
        sa.Column("host", sa.String(255)),
        sa.Column("boot_id", sa.String(64)),
        sa.Column("pid", sa.Integer),
        sa.Column("started_s", sa.Float),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT),
        sa.Column("ended_at", MOMENT),
        sa.Column("heartbeat_at", MOMENT),
        sa.PrimaryKeyConstraint("number", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
    )
    op.create_index("ix_jobs_status_number", "jobs", ["status", "number"])
