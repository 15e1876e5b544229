"""Labelling campaigns: their clips and pairs, who was given which pair, and every vote."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    make_campaigns()
    make_pairs()
    make_assignments()
    make_votes()


def make_campaigns() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", sa.String(8), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("plan", sa.JSON),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("closed_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_campaigns"),
    )
    op.create_table(
        "campaign_clips",
        sa.Column("campaign_id", sa.String(8), nullable=False),
        sa.Column("clip_id", sa.String(16), nullable=False),
        sa.Column("entrant", sa.String(420), nullable=False),
        sa.Column("request", sa.JSON),
        sa.PrimaryKeyConstraint("campaign_id", "clip_id", name="pk_campaign_clips"),
        of_campaign("campaign_clips"),
    )


def make_pairs() -> None:
    op.create_table(
        "pairs",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("campaign_id", sa.String(8), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("clip_a", sa.String(16), nullable=False),
        sa.Column("clip_b", sa.String(16), nullable=False),
        sa.Column("entrant_a", sa.String(420), nullable=False),
        sa.Column("entrant_b", sa.String(420), nullable=False),
        sa.Column("shuffle", sa.Float, nullable=False),
        sa.Column("gone_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_pairs"),
        of_campaign("pairs"),
    )
    op.create_index("ix_pairs_campaign_id_shuffle", "pairs", ["campaign_id", "shuffle"])


def make_assignments() -> None:
    op.create_table(
        "assignments",
        sa.Column("id", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("campaign_id", sa.String(8), nullable=False),
        sa.Column("pair_id", sa.String(16), nullable=False),
        sa.Column("labeller", sa.String(200), nullable=False),
        sa.Column("left_clip", sa.String(16), nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("slot", sa.Integer),
        sa.Column("is_repeat", sa.Boolean, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("voted_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_assignments"),
        of_campaign("assignments"),
        sa.ForeignKeyConstraint(["pair_id"], ["pairs.id"], name="fk_assignments_pair_id", ondelete="CASCADE"),
        sa.UniqueConstraint("pair_id", "slot", name="uq_assignments_pair_id_slot"),
        sa.UniqueConstraint("pair_id", "labeller", "left_clip", name="uq_assignments_pair_id_labeller_left_clip"),
        sa.UniqueConstraint("campaign_id", "labeller", "place", name="uq_assignments_campaign_id_labeller_place"),
    )


def make_votes() -> None:
    op.create_table(
        "votes",
        sa.Column("number", sa.Integer, nullable=False, autoincrement=True),
        sa.Column("client_uuid", sa.String(64), nullable=False),
        sa.Column("campaign_id", sa.String(8), nullable=False),
        sa.Column("assignment_id", sa.Integer, nullable=False),
        sa.Column("choice", sa.String(16), nullable=False),
        sa.Column("axes", sa.JSON, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("ms", sa.Integer),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("current", sa.Boolean),
        sa.Column("ended_as", sa.String(16)),
        sa.Column("ended_at", MOMENT),
        sa.PrimaryKeyConstraint("number", name="pk_votes"),
        of_campaign("votes"),
        sa.ForeignKeyConstraint(
            ["assignment_id"], ["assignments.id"], name="fk_votes_assignment_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint("client_uuid", name="uq_votes_client_uuid"),
        sa.UniqueConstraint("assignment_id", "current", name="uq_votes_assignment_id_current"),
    )
    op.create_index("ix_votes_campaign_id_current", "votes", ["campaign_id", "current"])


def of_campaign(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["campaign_id"], ["campaigns.id"], name=f"fk_{table}_campaign_id", ondelete="CASCADE"
    )
