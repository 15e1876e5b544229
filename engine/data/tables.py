"""The tables, as SQLAlchemy Core, the same on SQLite and PostgreSQL. `migrations/` makes them; a test compares."""

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
    false,
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware and in UTC on the Python side, also where the database forgets time zones (SQLite)."""

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


METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# One row a clip. `total`, `parts` and `mix` repeat its newest report, so a page of the library is one indexed read.
CLIPS = Table(
    "clips",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("prompt", Text, nullable=False),
    Column("model", String(200)),
    Column("adapter", String(200)),
    Column("source", String(16), nullable=False),
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
    Index(None, "deleted_at", "created_at", "id"),
    Index(None, "deleted_at", "total", "id"),
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

# One row a job; `number` is its place in the queue. host .. started_s name the process that runs it.
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
    Index(None, "status", "number"),
)
