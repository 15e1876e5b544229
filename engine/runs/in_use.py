"""Clips, models, adapters, data sets and runs that unfinished work needs."""

import json
import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import or_, select

from engine.config.presets import load_train_preset
from engine.config.schema import TrainPreset
from engine.errors import ConfigError, DailiesError, StoreError
from engine.runs.curriculum_state import Curriculum, list_curricula
from engine.runs.run import Run, list_runs
from engine.runs.run_inputs import preset_files
from engine.storage.database import pieces
from engine.storage.library import Library
from engine.storage.schema import CAMPAIGN_CLIPS, CAMPAIGNS, JOBS
from engine.workspace import Workspace

PENDING = ("queued", "running", "stopping")
TEXT_TABLES = (".jsonl", ".json", ".csv")
CLIP = re.compile(rb"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")
NAMED = 5  # users in one sentence
DATA = ("pairs", "prompts", "test_prompts")  # keys of presets and of configs

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependent:
    """A job, run or curriculum that is not finished; `name` is such as "the job 1f0c (score)".

    It `is_active` while it is queued or runs. `presets` are what it trains or evaluates, `runs` and `adapters` what
    else it needs; `config` is that of a job of `kind`.
    """

    name: str
    is_active: bool = True
    kind: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    presets: tuple[TrainPreset, ...] = ()
    runs: frozenset[str] = frozenset()
    adapters: tuple[object, ...] = ()

    def needs(self, key: str) -> bool:
        """Return True if it needs the model or adapter `key`."""
        models = (preset.model for preset in self.presets)
        return key in (*models, *self.adapters) or json.dumps(key) in json.dumps(self.config)

    @property
    def data(self) -> list[str]:
        """Names and paths of its clips and prompts."""
        configs = [self.config, self.config.get("preset") or {}, *(preset.model_dump() for preset in self.presets)]
        values = [config.get(key) for config in configs for key in DATA]
        values += [(config.get("settings") or {}).get("data") for config in configs]
        return [value for value in values if value and isinstance(value, str)]

    @property
    def clips(self) -> set[str]:
        """Clips that its config or its tables name. Raises StoreError for a table that cannot be read."""
        named = {*(self.config.get("clip_ids") or ()), self.config.get("clip_id")} - {None}
        files = {file for preset in self.presets for file in preset_files(preset).values()}
        tables = {table for path in {*files, *map(Path, self.data)} for table in _tables(path)}
        return named.union(*map(_clips_named_in, tables))


def users(store: Library) -> list[Dependent]:
    """Return all users; a preset or state that cannot be read is logged, and its needs are not known."""
    workspace = store.workspace
    with store.database.reading() as connection:
        query = select(JOBS.c.id, JOBS.c.kind, JOBS.c.config).where(JOBS.c.status.in_(PENDING))
        jobs = [_job(workspace, row.id, row.kind, row.config) for row in connection.execute(query)]
    curricula = [user for one in list_curricula(workspace) if (user := _curriculum(one)) is not None]
    unfinished = (run for run in list_runs(workspace) if not run.adapter.is_dir())
    runs = [Dependent(name=f"the run {run.id}", is_active=run.is_training, presets=_presets(run)) for run in unfinished]
    return [*jobs, *curricula, *runs]


def clips_in_use(store: Library) -> Mapping[str, list[str]]:
    """Return the users of each clip, such as "the job 1f0c (score)" or "the campaign 'Two models'".

    Raises StoreError when it cannot be known, since a run's pairs cannot be read.
    """
    found, in_use = users(store), defaultdict[str, list[str]](list)
    for user in found:
        for clip_id in user.clips:
            in_use[clip_id].append(user.name)
    for run in list_runs(store.workspace):
        if not run.adapter.is_dir():
            for clip_id in _clips_named_in(run.pairs_file):
                in_use[clip_id].append(f"the run {run.id}")
    judged = {user.config["campaign"] for user in found if user.kind == "judge"}
    for clip_id, title in _clips_of_campaigns(store, judged):
        in_use[clip_id].append(f"the campaign '{title}'")
    return in_use


def check_unused(store: Library, clip_ids: Collection[str]) -> None:
    """Raise ConfigError with the users of the clips when some are in use; no clip may then be deleted."""
    in_use = clips_in_use(store)
    needed = [clip_id for clip_id in clip_ids if clip_id in in_use]
    if needed:
        names = list(dict.fromkeys(name for clip_id in needed for name in in_use[clip_id]))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise ConfigError(
            f"Nothing was deleted: {len(needed)} of {len(clip_ids)} clips ({', '.join(needed[:NAMED])}) are needed by "
            f"{', '.join(names[:NAMED])}{more}. Cancel or close these first, or choose other clips."
        )


def user_of_model(store: Library, key: str, ignored_kind: str) -> str:
    """Return an active user of the model or adapter, "" for none; jobs of `ignored_kind` do not count."""
    active = (user for user in users(store) if user.is_active and user.kind != ignored_kind)
    return next((user.name for user in active if user.needs(key)), "")


def user_of_data_set(store: Library, name: str) -> str:
    """Return a user of the workspace's data set, also a run that stopped; "" for none."""
    folder = store.workspace.data_sets / name
    return next(
        (
            user.name
            for user in users(store)
            if any(value == name or Path(value).absolute().is_relative_to(folder) for value in user.data)
        ),
        "",
    )


def remedy(user: str, usual: str) -> str:
    """Return how to end the need of a user: `usual`, or for a curriculum its command."""
    key = user.removeprefix("the curriculum ")
    return usual if key == user else f"cancel its job, and end it by `dailies curriculum {key} --abandon`"


def user_of_run(store: Library, run_id: str) -> str:
    """Return the job or curriculum that needs the run, "" for none."""
    return next((user.name for user in users(store) if run_id in user.runs), "")


def _job(workspace: Workspace, job_id: str, kind: str, config: Mapping[str, Any]) -> Dependent:
    user = Dependent(name=f"the job {job_id} ({kind})", kind=kind, config=config)
    if "curriculum" in config:
        known = _curriculum(Curriculum(workspace.curricula / str(config["curriculum"])))
        return user if known is None else replace(known, name=user.name, kind=kind, config=config, is_active=True)
    if "run" in config:
        run = Run(workspace.runs / str(config["run"]))
        return replace(user, presets=_presets(run), runs=frozenset({run.id}))
    return user


def _curriculum(curriculum: Curriculum) -> Dependent | None:
    """Return a curriculum that is not over, with the stages that it may still train: a gate may lead back."""
    try:
        state = curriculum.state()
        if state.status != "running":
            return None
        stages = curriculum.preset().stages
        presets = [load_train_preset(one.preset, one.changes) for one in stages]
    except DailiesError as error:
        log.warning("What the curriculum %s needs is not known: %s", curriculum.id, error)
        return None
    settings = [{**preset.settings, **stage.settings} for preset, stage in zip(presets, stages, strict=True)]
    return Dependent(
        name=f"the curriculum {curriculum.id}",
        is_active=False,
        presets=tuple(
            preset.model_copy(update={"settings": own}) for preset, own in zip(presets, settings, strict=True)
        ),
        runs=frozenset(run for run in (*(one.run for one in state.attempts), state.start) if run),
        adapters=tuple(own.get("frozen_adapter") for own in settings),
    )


def _presets(run: Run) -> tuple[TrainPreset, ...]:
    try:
        return (run.preset(),)
    except DailiesError as error:
        log.warning("What the run %s needs is not known: %s", run.id, error)
        return ()


def _clips_of_campaigns(store: Library, judged: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the clips of open campaigns, and of those that are `judged`, with the titles of the campaigns."""
    with store.database.reading() as connection:
        alive = or_(CAMPAIGNS.c.closed_at.is_(None), CAMPAIGNS.c.id.in_(judged))
        rows = connection.execute(select(CAMPAIGNS.c.id, CAMPAIGNS.c.spec).where(alive))
        ids = [row.id for row in rows if not row.spec.get("deleted")]
        clips = select(CAMPAIGN_CLIPS.c.clip_id, CAMPAIGNS.c.title).join(CAMPAIGNS)
        for piece in pieces(ids):
            for row in connection.execute(clips.where(CAMPAIGNS.c.id.in_(piece))):
                yield row.clip_id, row.title


def _tables(path: Path) -> list[Path]:
    """Return the tables of text at a path or in its folder. Raises StoreError."""
    try:
        files = list(path.iterdir()) if path.is_dir() else [path]
    except OSError as error:
        raise _unknown(path, error) from error
    return [file for file in files if file.suffix in TEXT_TABLES]


def _clips_named_in(table: Path) -> set[str]:
    """Return what may be ids of clips in a table of any columns; none if there is no such file."""
    try:
        with table.open("rb") as lines:
            return {clip_id.decode() for line in lines for clip_id in CLIP.findall(line)}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise _unknown(table, error) from error


def _unknown(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path} cannot be read ({error.strerror or error}), so it is not known which clips it needs.")
