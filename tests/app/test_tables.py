"""Tables of the page's texts by key: each has an entry for every key that the engine knows."""

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, cast, get_args

import pytest

from app.context import AppContext
from app.forms.mode_fields import DEFAULTS, PLANS
from app.text import batches, general, jobs, labelling, models, modes, monitor, score, system, training
from app.views.library import AGES
from app.views.training.train_form import open_form
from engine.config.algorithms import ALGORITHMS
from engine.config.model_availability import ModelStatus
from engine.config.presets import load_train_preset
from engine.estimation.memory import MemoryEstimate, Verdict
from engine.generation.pipeline import MODES
from engine.generation.sweeps import AXES
from engine.hub.access import TokenSource
from engine.jobs.handlers import run_actions
from engine.jobs.kinds import KINDS
from engine.jobs.spec import Priority, Status
from engine.labelling.campaign_spec import Strategy
from engine.labelling.pair_exchange import Layout
from engine.labelling.pair_scheduling import PAIR_ORDERS
from engine.labelling.votes import Choice
from engine.runs.disk_usage import Cleanable
from engine.runs.results import Role
from engine.runs.run import Run
from engine.storage.library import SortOrder, Source
from engine.training.preflight.preflight_check import Level
from rewards.gates import Gates

OVER = ("failed", "cancelled", "lost")
PHASES = set(MemoryEstimate.__dataclass_fields__) - {"weights", "training"}
COMPLETE: dict[str, tuple[Mapping[Any, object], Collection[str]]] = {
    "algorithms": (training.DOES, ALGORITHMS),
    "job kinds": (training.KINDS, KINDS),
    "job priorities": (training.PRIORITIES, get_args(Priority)),
    "job states": (jobs.STATES, get_args(Status)),
    "job ends": (jobs.JOB_ENDS, OVER),
    "run states": (training.STATES, get_args(run_actions.State)),
    "preflight levels": (cast("dict[str, str]", training.FORM_WORDS["levels"]), get_args(Level)),
    "memory verdicts": (training.VERDICTS, get_args(Verdict)),
    "memory phases": (training.PHASES, PHASES),
    "measure roles": (monitor.ROLES, get_args(Role)),
    "strategies": (labelling.STRATEGY_LABELS, get_args(Strategy)),
    "pair orders": (PAIR_ORDERS, get_args(Strategy)),
    "choices": (labelling.CHOICES, get_args(Choice)),
    "exports": (labelling.EXPORTS, (*get_args(Layout), "votes")),
    "clip sources": (general.SOURCES, get_args(Source)),
    "library orders": (general.ORDERS, get_args(SortOrder)),
    "library ages": (general.DATES, (*AGES, "any", "before")),
    "model states": (models.STATES, get_args(ModelStatus)),
    "token sources": (models.TOKENS, get_args(TokenSource)),
    "generation modes": ({key: title for title, key in modes.MODES}, MODES),
    "plans": (DEFAULTS, PLANS),
    "sweep axes": (batches.TITLES, AXES),
    "sweep examples": (batches.EXAMPLES, AXES),
    "gates": (score.GATES, [field.name for field in fields(Gates)]),
    "reclaimable parts": (system.CLEANABLE, get_args(Cleanable)),
}


@pytest.mark.parametrize("name", COMPLETE)
def test_a_table_has_an_entry_for_every_key(name: str) -> None:
    table, keys = COMPLETE[name]
    assert set(table) == set(keys)


@pytest.mark.parametrize("algorithm", ["draft", "dmd"])
def test_the_form_opens_the_settings_of_a_run_of_an_algorithm_without_a_preset(
    context: AppContext, algorithm: str
) -> None:
    base = load_train_preset("mini_distill" if ALGORITHMS[algorithm].data == "prompts" else "mini_nft")
    run = Run.create(context.workspace, base.model_copy(update={"algorithm": algorithm, "settings": {}}))
    assert open_form(context, run=run.id)["about"]["does"] == training.DOES[algorithm]
