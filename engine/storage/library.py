"""`Library`: the clips and their reports in the database.

Deleting hides a clip; `engine.runs.purge` removes it later.
"""

import logging
import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import URL, ColumnElement, Row, Select, delete, func, select, update

from engine.clock import now
from engine.errors import StoreDamaged, StoreError
from engine.request import GenerationRequest
from engine.storage.backups import back_up, back_up_daily
from engine.storage.database import BUSY_TIMEOUT_S, Database, absolute_url, pieces, upsert
from engine.storage.migrate import upgrade_to_head
from engine.storage.schema import CLIPS, REPORTS
from engine.storage.search_text import normalised
from engine.workspace import Workspace
from rewards.clip import Clip

Source = Literal["generated", "imported"]
FILE_NAME_LIMIT = 255  # characters
SortOrder = Literal["newest", "oldest", "best", "worst"]
# Columns written by scoring or by users: adding a clip again does not overwrite them.
PRESERVED_COLUMNS = ("mix", "total", "parts", "created_at", "number", "starred", "notes")
ORDERS: dict[SortOrder, tuple[ColumnElement[Any], ...]] = {
    "newest": (CLIPS.c.number.desc(), CLIPS.c.id.desc()),
    "oldest": (CLIPS.c.number.asc(), CLIPS.c.id.asc()),
    "best": (CLIPS.c.total.desc().nulls_last(), CLIPS.c.id.desc()),
    "worst": (CLIPS.c.total.asc().nulls_last(), CLIPS.c.id.asc()),
}


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipRecord:
    """A clip's record in the database.

    `total` (0..1) and `parts` (0..1 by reward, None = not applicable) come from its newest report, by `mix`; all three
    are empty until the clip is scored. `model`, `request` and `seed` are None for an imported clip, whose file had the
    name `file`. `notes` are sentences about its generation or import; users star clips to find them again.
    """

    id: str
    prompt: str
    source: Source
    num_frames: int
    width: int
    height: int
    fps: float
    model: str | None = None
    adapter: str | None = None
    file: str | None = None
    request: dict[str, Any] | None = None
    seed: int | None = None
    created_at: datetime = field(default_factory=now)
    total: float | None = None
    parts: dict[str, float | None] = field(default_factory=dict)
    mix: str | None = None
    starred: bool = False
    notes: tuple[str, ...] = ()
    deleted_at: datetime | None = None

    @classmethod
    def generated(cls, request: GenerationRequest, notes: Sequence[str] = ()) -> "ClipRecord":
        """Return the record of a clip generated from `request`."""
        shape = request.model_dump(include={"num_frames", "width", "height", "fps"})
        names = request.model_dump(include={"prompt", "model", "seed"})
        names |= {"id": request.id, "adapter": request.adapter_label}
        return cls(source="generated", request=request.model_dump(mode="json"), notes=tuple(notes), **shape, **names)

    @classmethod
    def imported(cls, clip_id: str, clip: Clip, notes: Sequence[str] = (), file: str = "") -> "ClipRecord":
        """Return the record of a clip imported from the file named `file`.

        `notes` describe what the import changed.
        """
        return cls(
            id=clip_id,
            prompt=clip.prompt,
            source="imported",
            num_frames=clip.num_frames,
            width=clip.width,
            height=clip.height,
            fps=clip.fps,
            file=file.encode(errors="replace").decode()[-FILE_NAME_LIMIT:] or None,
            notes=tuple(notes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFilter:
    """A filter of clips.

    Every word of `text` must occur in the prompt, in any case; None disables a condition. With `best_by`, a reward, the
    clips with its highest values come first, in place of `order`.
    """

    text: str = ""
    model: str | None = None
    adapter: str | None = None
    source: Source | None = None
    starred: bool | None = None
    min_total: float | None = None
    max_total: float | None = None
    since: datetime | None = None
    until: datetime | None = None
    order: SortOrder = "newest"
    best_by: str | None = None
    deleted: bool = False

    def ordering(self) -> tuple[ColumnElement[Any], ...]:
        """Return the SQL order of the clips."""
        if self.best_by is None:
            return ORDERS[self.order]
        return (CLIPS.c.parts[self.best_by].as_float().desc().nulls_last(), CLIPS.c.id.desc())

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the SQL conditions of this filter."""
        exact = {
            CLIPS.c.model: self.model,
            CLIPS.c.adapter: self.adapter,
            CLIPS.c.source: self.source,
            CLIPS.c.starred: self.starred,
        }
        conditions: list[ColumnElement[bool]] = []
        conditions.append(CLIPS.c.deleted_at.is_not(None) if self.deleted else CLIPS.c.deleted_at.is_(None))
        words = normalised(self.text).split()
        conditions += [CLIPS.c.search.contains(word, autoescape=True) for word in words]
        conditions += [name == value for name, value in exact.items() if value is not None]
        if self.min_total is not None:
            conditions.append(CLIPS.c.total >= self.min_total)
        if self.max_total is not None:
            conditions.append(CLIPS.c.total <= self.max_total)
        if self.since is not None:
            conditions.append(CLIPS.c.created_at >= self.since)
        if self.until is not None:
            conditions.append(CLIPS.c.created_at <= self.until)
        return conditions


def database_url(workspace: Workspace) -> URL:
    """Return $DAILIES_DATABASE_URL with an absolute path, else the URL of the workspace's own file.

    Raises ConfigError when the variable is no database URL.
    """
    url = os.environ.get("DAILIES_DATABASE_URL")
    # URL.create, since a path may contain characters that have a meaning in a URL
    return absolute_url(url) if url else URL.create("sqlite", database=str(workspace.database))


def database_file(workspace: Workspace) -> Path | None:
    """Return the SQLite file; None when the database is on a server."""
    url = database_url(workspace)
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def copy_at_start(workspace: Workspace) -> None:
    """Back up the database at the server's start. Raises StoreDamaged; other failures are only logged."""
    file = database_file(workspace)
    try:
        if file is not None:
            back_up(file, workspace, "start")
    except StoreDamaged:
        raise
    except StoreError as error:  # a full disk: users need the page to free space
        log.warning("%s", error)


def keep_daily_copy(workspace: Workspace) -> None:
    """Back up the database if the last daily backup is older than a day. Failures are logged."""
    file = database_file(workspace)
    try:
        if file is not None:
            back_up_daily(file, workspace)
    except StoreError as error:
        log.warning("%s", error)


class Library:
    """The clips of one workspace.

    Safe to use from many threads and processes; every method is one transaction.
    """

    def __init__(
        self, workspace: Workspace, *, busy_timeout_s: float = BUSY_TIMEOUT_S, beside_clips: bool = False
    ) -> None:
        """Open $DAILIES_DATABASE_URL or the workspace's own SQLite file; create or migrate it first.

        With clips in the workspace, a new database is created only with `beside_clips`. Raises StoreError (cannot be
        opened, newer than the code, lost, ...) or ConfigError (unsupported kind of database).
        """
        self.workspace = workspace.prepare()
        url = database_url(workspace)
        upgrade_to_head(url, workspace, busy_timeout_s=busy_timeout_s, beside_clips=beside_clips)
        self.database = Database(url, busy_timeout_s=busy_timeout_s)

    def close(self) -> None:
        self.database.close()

    def add_clip(self, record: ClipRecord) -> ClipRecord:
        """Store a record. An existing clip keeps its scores and date, and is restored if it was deleted."""
        self.add_clips([record])
        return self.clip(record.id)

    def add_clips(self, records: Iterable[ClipRecord]) -> None:
        """Store all records or none."""
        with self.database.writing() as connection:
            for record in records:
                upsert(connection, CLIPS, {**_row_of(record), "deleted_at": None}, keep=PRESERVED_COLUMNS)

    def add_missing(self, records: Iterable[ClipRecord]) -> int:
        """Store the records of clips without a row, deleted or not, and return their number."""
        with self.database.writing() as connection:
            existing_ids = set(connection.scalars(select(CLIPS.c.id)))
            missing = [record for record in records if record.id not in existing_ids]
            for record in missing:
                connection.execute(CLIPS.insert().values(_row_of(record)))
        return len(missing)

    def clip(self, clip_id: str) -> ClipRecord:
        """Return one clip, deleted or not. Raises StoreError for an unknown id."""
        with self.database.reading() as connection:
            row = connection.execute(select(CLIPS).where(CLIPS.c.id == clip_id)).one_or_none()
        if row is None:
            raise StoreError(f"There is no clip {clip_id[:40]!r} in {self.workspace.root}.")
        return _record(row)

    def existing(self, clip_ids: Iterable[str]) -> dict[str, ClipRecord]:
        """Return the stored clips among the ids, without deleted ones."""
        with self.database.reading() as connection:
            queries = (select(CLIPS).where(CLIPS.c.id.in_(piece)) for piece in pieces(clip_ids))
            rows = (row for each in queries for row in connection.execute(each))
            # Not a condition of the query: SQLite would look through all that are not deleted.
            return {row.id: _record(row) for row in rows if row.deleted_at is None}

    def clips(self, which: ClipFilter | None = None, offset: int = 0, limit: int = 60) -> list[ClipRecord]:
        """Return one page of the library."""
        which = which or ClipFilter()
        query = select(CLIPS).where(*which.conditions()).order_by(*which.ordering())
        return self._records(query.offset(offset).limit(limit))

    def count(self, which: ClipFilter | None = None) -> int:
        query = select(func.count()).select_from(CLIPS).where(*(which or ClipFilter()).conditions())
        with self.database.reading() as connection:
            return connection.scalar(query) or 0

    def models(self) -> list[str]:
        """Return the models of stored clips by name, the choices of the filter."""
        return self._distinct(CLIPS.c.model)

    def adapters(self) -> list[str]:
        return self._distinct(CLIPS.c.adapter)

    def delete(self, clip_ids: Sequence[str]) -> int:
        """Hide clips and return their number; `restore` brings them back until they are purged."""
        return self._update(clip_ids, CLIPS.c.deleted_at.is_(None), deleted_at=now())

    def restore(self, clip_ids: Sequence[str]) -> int:
        """Restore deleted clips and return their number."""
        return self._update(clip_ids, CLIPS.c.deleted_at.is_not(None), deleted_at=None)

    def star(self, clip_ids: Sequence[str], starred: bool = True) -> int:
        """Star or unstar clips and return their number."""
        return self._update(clip_ids, starred=starred)

    def deleted_ids(self) -> list[str]:
        """Return the clips that are deleted but not yet purged."""
        with self.database.reading() as connection:
            return list(connection.scalars(select(CLIPS.c.id).where(CLIPS.c.deleted_at.is_not(None))))

    def forget_deleted(
        self, before: datetime, keep: Container[str] = (), is_gone: Callable[[str], bool] = lambda clip_id: True
    ) -> list[str]:
        """Remove the rows and reports of clips deleted before a time, except those in `keep`.

        Return their ids. `is_gone` removes the files of a clip; a clip for which it returns False keeps its row. No
        clip is restored meanwhile.
        """
        old = select(CLIPS.c.id).where(CLIPS.c.deleted_at < before).with_for_update()
        with self.database.writing() as connection:
            ids = [clip_id for clip_id in connection.scalars(old) if clip_id not in keep and is_gone(clip_id)]
            for clip_id in ids:
                connection.execute(delete(CLIPS).where(CLIPS.c.id == clip_id))
        return ids

    def save_report(self, clip_id: str, mix: str, report: Mapping[str, Any]) -> None:
        """Store a report of a clip by `mix` (`RewardReport.to_dict()`); it becomes the clip's newest report.

        If the prompt could not be judged, the clip gets no total: it would rank above totals that include the prompt.
        """
        parts = {key: result["value"] for key, result in report["results"].items()}
        total = None if report.get("unjudged") else report["total"]
        score = {"mix": mix, "total": total, "parts": parts}
        with self.database.writing() as connection:
            updated = connection.execute(update(CLIPS).where(CLIPS.c.id == clip_id).values(**score))
            if not updated.rowcount:
                raise StoreError(f"There is no clip {clip_id[:40]!r} in {self.workspace.root} to keep a report of.")
            row = {"clip_id": clip_id, "mix": mix, "report": dict(report), "created_at": now()}
            upsert(connection, REPORTS, row)

    def report(self, clip_id: str, mix: str | None = None) -> dict[str, Any] | None:
        """Return a clip's report by `mix`, or its newest report when `mix` is None; None when there is none."""
        newest = select(CLIPS.c.mix).where(CLIPS.c.id == clip_id).scalar_subquery()
        query = select(REPORTS.c.report).where(REPORTS.c.clip_id == clip_id)
        with self.database.reading() as connection:
            return connection.scalar(query.where(REPORTS.c.mix == (newest if mix is None else mix)))

    def reports(self, clip_ids: Iterable[str], mix: str) -> dict[str, dict[str, Any]]:
        """Return the reports of clips by `mix`, by clip id; clips without one are left out."""
        query = select(REPORTS.c.clip_id, REPORTS.c.report).where(REPORTS.c.mix == mix)
        with self.database.reading() as connection:
            queries = (query.where(REPORTS.c.clip_id.in_(piece)) for piece in pieces(clip_ids))
            return {row.clip_id: row.report for each in queries for row in connection.execute(each)}

    def scored_by(
        self, mix: str, calibration: str | None = None, identities: Mapping[str, str] | None = None
    ) -> list[str]:
        """Return the ids of all clips that `mix` has scored, with this `calibration` unless it is None.

        With a calibration, clips with a missing reward are left out, and those of which a reward had another identity
        (model and version) than in `identities`.
        """
        query = select(REPORTS.c.clip_id, REPORTS.c.report).where(REPORTS.c.mix == mix)
        with self.database.reading() as connection:
            rows = connection.execute(query).all()
        return [
            clip for clip, report in rows if calibration is None or _is_current(report, calibration, identities or {})
        ]

    def mixes(self) -> list[str]:
        """Return the mixes of the clips' newest reports, by name."""
        return self._distinct(CLIPS.c.mix)

    def withdraw_totals(self, mix: str, calibration: str) -> int:
        """Remove the totals of clips whose newest report is by `mix` with another calibration.

        Return their number.
        """
        made_with = REPORTS.c.report["calibration"].as_string()
        old = select(REPORTS.c.clip_id).where(REPORTS.c.mix == mix, func.coalesce(made_with, "") != calibration)
        query = update(CLIPS).where(CLIPS.c.mix == mix, CLIPS.c.total.is_not(None), CLIPS.c.id.in_(old))
        with self.database.writing() as connection:
            return connection.execute(query.values(total=None)).rowcount

    def _records(self, query: Select[Any]) -> list[ClipRecord]:
        with self.database.reading() as connection:
            return [_record(row) for row in connection.execute(query)]

    def _distinct(self, name: ColumnElement[Any]) -> list[str]:
        query = select(name).where(name.is_not(None), CLIPS.c.deleted_at.is_(None)).distinct().order_by(name)
        with self.database.reading() as connection:
            return list(connection.scalars(query))

    def _update(self, clip_ids: Iterable[str], *conditions: ColumnElement[bool], **values: Any) -> int:
        """Set columns of the clips that meet the conditions, all or none, and return their number."""
        query = update(CLIPS).where(*conditions).values(**values)
        with self.database.writing() as connection:
            return sum(connection.execute(query.where(CLIPS.c.id.in_(piece))).rowcount for piece in pieces(clip_ids))


def _is_current(report: Mapping[str, Any], calibration: str, identities: Mapping[str, str]) -> bool:
    known = {key: result.get("backend") for key, result in report["results"].items() if result["value"] is not None}
    same = all(known.get(key, identity) == identity for key, identity in identities.items())
    return report.get("calibration") == calibration and not report.get("missing") and same


def _row_of(record: ClipRecord) -> dict[str, Any]:
    """Return the row of a record, with the next number.

    Concurrent inserts on PostgreSQL may share a number.
    """
    number = select(func.coalesce(func.max(CLIPS.c.number), 0) + 1).scalar_subquery()
    return {**asdict(record), "search": normalised(record.prompt), "number": number}


def _record(row: Row[Any]) -> ClipRecord:
    values = dict(row._mapping)
    del values["search"], values["number"]
    return ClipRecord(**values | {"parts": values["parts"] or {}, "notes": tuple(values["notes"] or ())})
