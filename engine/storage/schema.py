"""The tables in SQLAlchemy Core, the same on SQLite and PostgreSQL.

`migrations/` creates them; a test compares both.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)


class UtcDateTime(TypeDecorator[datetime]):
    """A time that is aware and in UTC in Python, even on a database without time zones (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "the store takes aware datetimes only"
        return value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


VERSION_TABLE = "dailies_version"  # Alembic's table with the database's schema revision

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _partial(name: str, condition: str, *columns: str, sqlite: str = "") -> Index:
    """Return an index of the rows that meet a condition (in SQLite's words, where they differ)."""
    return Index(name, *columns, sqlite_where=text(sqlite or condition), postgresql_where=text(condition))


# One row per clip. `total`, `parts` and `mix` repeat its newest report, so a page of the library is one indexed read.
# `number` counts up and gives the order of insertion independent of the clock. `search` is the prompt normalised by
# `engine.storage.search_text.normalised`.
CLIPS = Table(
    "clips",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("prompt", Text, nullable=False),
    Column("model", String(200)),
    Column("adapter", String(200)),
    Column("source", String(16), nullable=False),
    Column("file", String(255)),
    Column("request", JSON(none_as_null=True)),
    Column("num_frames", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("fps", Float, nullable=False),
    Column("seed", BigInteger),
    Column("created_at", UtcDateTime, nullable=False),
    Column("deleted_at", UtcDateTime),
    Column("mix", String(200)),
    Column("total", Float),
    Column("parts", JSON(none_as_null=True)),
    Column("starred", Boolean, nullable=False, server_default=false()),
    Column("notes", JSON(none_as_null=True)),
    Column("search", Text),
    Column("number", Integer, nullable=False, server_default="0"),
    Index(None, "number"),
    Index(None, "deleted_at", "number", "id"),
    Index(None, "deleted_at", "created_at", "id"),
    Index(None, "deleted_at", "total", "id"),
    Index(None, "deleted_at", "model"),
    Index(None, "deleted_at", "adapter"),
)

# One row for each mix that has scored a clip; scoring it again replaces the row.
REPORTS = Table(
    "reports",
    METADATA,
    Column("clip_id", String(16), ForeignKey("clips.id", ondelete="CASCADE"), primary_key=True),
    Column("mix", String(200), primary_key=True),
    Column("report", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# One row per job; the queue is ordered by `priority`, high first, then `number`. host .. started_s identify the process
# that runs it. `heartbeat_s` is the heartbeat on that host's monotonic clock, `environment` the environment at
# submission (engine.hardware.job_environment).
JOBS = Table(
    "jobs",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(8), nullable=False, unique=True),
    Column("kind", String(40), nullable=False),
    Column("status", String(16), nullable=False),
    Column("config", JSON, nullable=False),
    Column("resources", JSON, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("progress", JSON(none_as_null=True)),
    Column("error", Text),
    Column("exit_code", Integer),
    Column("host", String(255)),
    Column("boot_id", String(64)),
    Column("pid", Integer),
    Column("started_s", Float),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("heartbeat_at", UtcDateTime),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("heartbeat_s", Float),
    Column("environment", JSON(none_as_null=True)),
    Index(None, "status", "number"),
)

# Parts of devices held by running jobs, see engine.jobs.device_leases: the key prevents that two jobs hold one part.
LEASES = Table(
    "leases",
    METADATA,
    Column("host", String(255), primary_key=True),
    Column("device", Integer, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("job_id", String(8), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Index(None, "job_id"),
)

# Every change of a job's state, in the same transaction: `event` is the new state, or "adopted" when another worker
# took over a running job; `pid` is the process that wrote the event.
JOURNAL = Table(
    "journal",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(8), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("event", String(16), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("pid", Integer, nullable=False),
    Index(None, "job_id"),
)

# One row per labelling campaign. `plan` is the next order of its strategy, see engine.labelling.pair_scheduling.
CAMPAIGNS = Table(
    "campaigns",
    METADATA,
    Column("id", String(8), primary_key=True),
    Column("title", String(200), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("plan", JSON(none_as_null=True)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
)

# The clips of a campaign. They may not be generated yet, hence no foreign key to clips. `request` is empty for a clip
# that was chosen from the library.
CAMPAIGN_CLIPS = Table(
    "campaign_clips",
    METADATA,
    Column("campaign_id", String(8), ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True),
    Column("clip_id", String(16), primary_key=True),
    Column("entrant", String(420), nullable=False),
    Column("request", JSON(none_as_null=True)),
)

# Two clips of one prompt, in arbitrary order. `shuffle` (0..1) is a random position among the other pairs. A dropped
# pair is not assigned, and its votes do not count. `free` counts the vote slots that no assignment holds; it changes in
# the transaction that gives out or frees one. Queries must have the conditions of a partial index word for word.
PAIRS = Table(
    "pairs",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("campaign_id", String(8), ForeignKey("campaigns.id", ondelete="CASCADE"), nullable=False),
    Column("prompt", Text, nullable=False),
    Column("clip_a", String(16), nullable=False),
    Column("clip_b", String(16), nullable=False),
    Column("entrant_a", String(420), nullable=False),
    Column("entrant_b", String(420), nullable=False),
    Column("shuffle", Float, nullable=False),
    Column("gone_at", UtcDateTime),
    Column("dropped_at", UtcDateTime),
    Column("free", Integer, nullable=False, server_default="0"),
    Index(None, "campaign_id", "shuffle"),
    _partial("ix_pairs_free", "free > 0 AND gone_at IS NULL AND dropped_at IS NULL", "campaign_id", "shuffle", "id"),
    _partial("ix_pairs_gone", "gone_at IS NOT NULL", "campaign_id"),
    _partial("ix_pairs_dropped", "dropped_at IS NOT NULL", "campaign_id"),
)

# A pair assigned to a labeller, with the side of each clip. `slot` is the index among the pair's required votes, empty
# for a repeat and for an assignment that no longer counts (skipped, or timed out). The constraints prevent that a pair
# is assigned to more labellers than required, or twice to one labeller unless the sides are swapped.
ASSIGNMENTS = Table(
    "assignments",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("campaign_id", String(8), ForeignKey("campaigns.id", ondelete="CASCADE"), nullable=False),
    Column("pair_id", String(16), ForeignKey("pairs.id", ondelete="CASCADE"), nullable=False),
    Column("labeller", String(200), nullable=False),
    Column("left_clip", String(16), nullable=False),
    Column("place", Integer, nullable=False),
    Column("slot", Integer),
    Column("is_repeat", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("voted_at", UtcDateTime),
    UniqueConstraint("pair_id", "slot"),
    UniqueConstraint("pair_id", "labeller", "left_clip"),
    UniqueConstraint("campaign_id", "labeller", "place"),
    _partial("ix_assignments_open", "voted_at IS NULL", "campaign_id", "labeller", "place"),
    _partial("ix_assignments_repeats", "is_repeat", "campaign_id", "labeller", sqlite="is_repeat = 1"),
)

# The votes of one labeller in a campaign, counted in the transaction of each vote, dropped pairs included: `done` are
# the current ones, `skipped` and `counted` (no skip, no repeat) are among them. `changes` only grows.
LABELLERS = Table(
    "labellers",
    METADATA,
    Column("campaign_id", String(8), ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True),
    Column("labeller", String(200), primary_key=True),
    Column("done", Integer, nullable=False, server_default="0"),
    Column("skipped", Integer, nullable=False, server_default="0"),
    Column("counted", Integer, nullable=False, server_default="0"),
    Column("changes", Integer, nullable=False, server_default="0"),
)

# Answers of AI labellers (pairwise judges), apart from the votes of people: of each judge one row a pair. `judge` is
# the key of its reward, `asked` a digest of its question; `first` is the choice with clip a shown first, `second` with
# clip b.
JUDGE_VOTES = Table(
    "judge_votes",
    METADATA,
    Column("pair_id", String(16), ForeignKey("pairs.id", ondelete="CASCADE"), primary_key=True),
    Column("judge", String(200), primary_key=True),
    Column("model", String(200), nullable=False),
    Column("asked", String(8), nullable=False),
    Column("first", String(3), nullable=False),
    Column("second", String(3), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# Every vote ever sent, once. `current` is true or empty, so that the constraint allows one counted vote per
# assignment, and any number of undone or edited votes (`ended_as`). `labeller` repeats the assignment's.
VOTES = Table(
    "votes",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("client_uuid", String(64), nullable=False, unique=True),
    Column("campaign_id", String(8), ForeignKey("campaigns.id", ondelete="CASCADE"), nullable=False),
    Column("assignment_id", Integer, ForeignKey("assignments.id", ondelete="CASCADE"), nullable=False),
    Column("choice", String(16), nullable=False),
    Column("axes", JSON, nullable=False),
    Column("note", Text, nullable=False),
    Column("ms", Integer),
    Column("created_at", UtcDateTime, nullable=False),
    Column("current", Boolean),
    Column("ended_as", String(16)),
    Column("ended_at", UtcDateTime),
    Column("labeller", String(200)),
    UniqueConstraint("assignment_id", "current"),
    Index(None, "campaign_id", "current"),
    Index(None, "campaign_id", "labeller", "current", "number"),
)
