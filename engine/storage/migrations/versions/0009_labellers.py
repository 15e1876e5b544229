"""Counts of votes by labeller and of free slots by pair, and indexes for large campaigns."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

PARTIAL = {
    "ix_pairs_free": ("pairs", ["campaign_id", "shuffle", "id"]),
    "ix_pairs_gone": ("pairs", ["campaign_id"]),
    "ix_pairs_dropped": ("pairs", ["campaign_id"]),
    "ix_assignments_open": ("assignments", ["campaign_id", "labeller", "place"]),
    "ix_assignments_repeats": ("assignments", ["campaign_id", "labeller"]),
}
CONDITIONS = {
    "ix_pairs_free": "free > 0 AND gone_at IS NULL AND dropped_at IS NULL",
    "ix_pairs_gone": "gone_at IS NOT NULL",
    "ix_pairs_dropped": "dropped_at IS NOT NULL",
    "ix_assignments_open": "voted_at IS NULL",
    "ix_assignments_repeats": "is_repeat",
}
COUNT_SLOTS = """UPDATE pairs SET free = :wanted - (
    SELECT count(*) FROM assignments WHERE assignments.pair_id = pairs.id AND assignments.slot IS NOT NULL
) WHERE campaign_id = :campaign"""
NAME_VOTES = """UPDATE votes SET labeller = (
    SELECT assignments.labeller FROM assignments WHERE assignments.id = votes.assignment_id
)"""
COUNT_VOTES = """INSERT INTO labellers (campaign_id, labeller, done, skipped, counted, changes)
SELECT assignments.campaign_id, assignments.labeller, count(votes.number),
    count(CASE WHEN votes.choice = 'skip' THEN 1 END),
    count(CASE WHEN votes.choice <> 'skip' AND NOT assignments.is_repeat THEN 1 END), count(votes.number)
FROM assignments LEFT JOIN votes ON votes.assignment_id = assignments.id AND votes.current
GROUP BY assignments.campaign_id, assignments.labeller"""


def upgrade() -> None:
    make_labellers()
    op.add_column("pairs", sa.Column("free", sa.Integer, server_default="0", nullable=False))
    op.add_column("votes", sa.Column("labeller", sa.String(200)))
    connection = op.get_bind()
    for campaign, spec in connection.execute(sa.text("SELECT id, spec FROM campaigns")).all():
        wanted = (json.loads(spec) if isinstance(spec, str) else spec).get("labellers_per_pair", 1)
        connection.execute(sa.text(COUNT_SLOTS), {"campaign": campaign, "wanted": wanted})
    for statement in (NAME_VOTES, COUNT_VOTES):
        connection.execute(sa.text(statement))
    by_labeller = ["campaign_id", "labeller", "current", "number"]
    op.create_index(f"ix_votes_{'_'.join(by_labeller)}", "votes", by_labeller)
    for name, (table, columns) in PARTIAL.items():
        condition = CONDITIONS[name]
        own = f"{condition} = 1" if condition == "is_repeat" else condition
        op.create_index(name, table, columns, sqlite_where=sa.text(own), postgresql_where=sa.text(condition))


def make_labellers() -> None:
    op.create_table(
        "labellers",
        sa.Column("campaign_id", sa.String(8), nullable=False),
        sa.Column("labeller", sa.String(200), nullable=False),
        *(
            sa.Column(name, sa.Integer, server_default="0", nullable=False)
            for name in ("done", "skipped", "counted", "changes")
        ),
        sa.PrimaryKeyConstraint("campaign_id", "labeller", name="pk_labellers"),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name="fk_labellers_campaign_id", ondelete="CASCADE"),
    )
