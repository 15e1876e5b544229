"""Tables of the page's texts by key: each has an entry for every key that the engine knows."""

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any, cast, get_args

import pytest

from app.context import AppContext
from app.forms.mode_fields import DEFAULTS, PLANS
from app.text import batches, general, jobs, labelling, models, modes, monitor, score, system, training
from app.views.library import AGES
from app.views.training.train_form import open_form
from engine.config import form_settings
from engine.config.algorithms import ALGORITHMS, Algorithm
from engine.config.model_availability import ModelStatus
from engine.config.presets import load_train_preset
from engine.estimation.memory import MemoryEstimate, Verdict
from engine.estimation.run_estimate import flop_per_update
from engine.estimation.run_plan import RunPlan, plan
from engine.generation.pipeline import MODES
from engine.generation.sweeps import AXES
from engine.hub.access import TokenSource
from engine.jobs.kinds import KINDS
from engine.jobs.runs import run_actions
from engine.jobs.spec import Priority, Status
from engine.labelling.campaign_spec import Strategy
from engine.labelling.pair_exchange import Layout
from engine.labelling.pair_scheduling import STRATEGIES
from engine.labelling.votes import Choice
from engine.runs.disk_usage import Cleanable
from engine.runs.results import Role
from engine.runs.run import Run
from engine.storage.library import SortOrder, Source
from engine.training.build import build_config
from engine.training.preflight.preflight_check import Level
from rewards.gates import Gates
from rewards.import_object import import_object

OVER = ("failed", "cancelled", "lost")
PHASES = set(MemoryEstimate.__dataclass_fields__) - {"weights", "training"}
COMPLETE: dict[str, tuple[Mapping[Any, object], Collection[str]]] = {
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
    "pair orders": (STRATEGIES, get_args(Strategy)),
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


def test_one_line_of_the_registry_adds_an_algorithm(context: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets, form, command and estimate find it; its settings are those of the generated table."""
    toy = replace(ALGORITHMS["nft"], does="Trains a toy.", cost="engine.estimation.update_costs:sft")
    monkeypatch.setitem(cast(dict[str, Algorithm], ALGORITHMS), "toy", toy)
    table = form_settings._table()
    monkeypatch.setattr(form_settings, "_table", lambda: {**table, "toy": table["nft"]})
    preset = load_train_preset("mini_nft", {"algorithm": "toy"})
    run = Run.create(context.workspace, preset)
    opened = open_form(context, run=run.id)
    assert opened["about"]["does"] == "Trains a toy."
    assert build_config(import_object(toy.settings), preset.settings, run.checkpoints).mixing == 1.0
    passes, usual = (flop_per_update(cast(RunPlan, plan(one))) for one in (preset, load_train_preset("mini_nft")))
    assert 0 < passes < usual
