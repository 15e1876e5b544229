"""The Train tab's form: what it offers, what somebody chose as a recipe, and what that will need.

`Choices` is what the form's script sends: {recipe, run, model, adapter, prompts, pairs, campaign, mix, rewards,
share, settings: {name: text}}; `run` is the run whose settings are the base instead of a recipe's, else ""; `share` is
what the run holds of a device, "" for all of it.
"""

import json
import shlex
from collections.abc import Mapping
from functools import cache
from typing import Any, Required

from typing_extensions import TypedDict

from app.api.server_folders import opened_path
from app.context import AppContext
from app.forms.generation_form import model_choices, preset_choices
from app.middleware.idempotency import request_key
from app.text import general as text
from app.text import training
from app.views.jobs import line
from engine.config.form_settings import FormSetting, settings_of
from engine.config.presets import change_preset, load_preset, prompt_sets, save_train_preset
from engine.config.schema import TrainPreset
from engine.errors import ConfigError, DailiesError
from engine.estimation.run_estimate import RunEstimate, forecast
from engine.execution.resources import Resources, read_resources
from engine.generation.validation import why_untrainable
from engine.hardware.telemetry.monitor import Telemetry
from engine.jobs.spec import JobSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.run_dataset import create_run
from engine.runs.adapters import find_adapter, list_adapters
from engine.runs.run import Run, list_runs

Choices = Mapping[str, Any]
FIRST = "mini_grpo"
CHOSEN = ("model", "mix", "prompts", "pairs", "campaign", "rewards")
CURRICULUM = "curriculum:"  # how a curriculum's name begins in the list of recipes
LEARNED_FROM = 20  # runs that are looked at for how long they took
GIB = 2**30


class Chosen(TypedDict, total=False):
    """What the form's script sends."""

    recipe: Required[str]
    run: Required[str]
    curriculum: str | None
    model: str | None
    adapter: str | None
    prompts: str | None
    pairs: str | None
    campaign: str | None
    mix: str | None
    rewards: str | None
    share: str | None
    key: str | None
    settings: Required[dict[str, str | bool | int | float | None]]


def opened(desk: AppContext, recipe: str = "", run: str = "") -> dict[str, Any]:
    """The form as a recipe, or a run's settings, fill it. Raises ConfigError: there is none of this name."""
    recipes = preset_choices("train")
    known = [key for _, key in recipes]
    recipe = recipe or (FIRST if FIRST in known else next(iter(known), ""))
    if not recipe and not run:
        raise ConfigError("There is no recipe: add a preset to presets/train.")
    base = _base(desk, recipe, run)
    chosen = {name: getattr(base, name) or "" for name in CHOSEN}
    return {
        "recipes": _options(recipes),
        "curricula": curricula(),
        "about": {name: getattr(base, name) for name in ("title", "source", "notes", "algorithm")},
        "offered": _offered(desk, base),
        "settings": [_setting(setting, base) for setting in settings_of(base.algorithm)],
        "choices": {**chosen, "recipe": recipe, "run": run, "adapter": "", "settings": {}},
    }


def _base(desk: AppContext, recipe: str, run: str) -> TrainPreset:
    return Run.find(desk.workspace, run).preset() if run else load_preset("train", recipe)


def _offered(desk: AppContext, base: TrainPreset) -> dict[str, Any]:
    names = prompt_sets()
    return {
        **offered(desk),
        "models": _options(_trainable()),
        "mixes": _options(preset_choices("rewards")) if base.mix else [],
        "prompts": sorted({*names, base.prompts}) if base.prompts else [],
        "makes_clips": base.mix is not None,
    }


def offered(desk: AppContext) -> dict[str, Any]:
    """What comes to be while the page is open: adapters to start from, by model, and campaigns."""
    return {
        "adapters": {key: [one.name for one in list_adapters(desk.workspace, key)] for _, key in _trainable()},
        "campaigns": [{"key": one.id, "title": one.title} for one in Campaigns(desk.store).list()],
    }


def _trainable() -> list[tuple[str, str]]:
    return [(title, key) for title, key in model_choices() if why_untrainable(load_preset("models", key)) is None]


def _options(choices: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"key": key, "title": title} for title, key in choices]


def curricula() -> list[dict[str, str]]:
    return [{"key": f"{CURRICULUM}{key}", "title": title} for title, key in preset_choices("curricula")]


def _setting(setting: FormSetting, base: TrainPreset) -> dict[str, Any]:
    """A row of the form: `value` of the base as text, `own` when the base sets it besides the default."""
    own = setting.name in base.settings
    value = base.settings[setting.name] if own else setting.default
    return {**setting.model_dump(mode="json"), "own": own, "value": shown(value), "default": shown(setting.default)}


def shown(value: Any) -> str:
    """A setting as people type it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(shown(one) for one in value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


# ---- What was chosen
def read_changes(desk: AppContext, choices: Choices) -> tuple[TrainPreset, dict[str, Any]]:
    """The base and what is changed in it. Raises ConfigError for the first thing that will not do."""
    base = _base(desk, choices["recipe"], choices["run"])
    if choices.get("campaign"):
        choices = {**choices, "pairs": ""}
    changes: dict[str, Any] = {
        name: choices[name] or None for name in CHOSEN if (choices.get(name) or None) != (getattr(base, name) or None)
    }
    if changes.get("pairs"):
        changes["pairs"] = str(opened_path(desk, changes["pairs"]))
    if changes.get("prompts") and changes["prompts"] not in prompt_sets():
        changes["prompts"] = str(opened_path(desk, changes["prompts"]))
    known = {setting.name: setting for setting in settings_of(base.algorithm)}
    settings = {}
    for name, typed in choices.get("settings", {}).items():
        if name not in known:
            raise ConfigError(f"There is no setting '{name[:40]}' for {base.algorithm}.")
        before = base.settings.get(name, known[name].default)
        if shown(before) == str(typed).strip():
            continue
        value = known[name].read(typed)
        if value != before:
            settings[name] = value
    return base, {**changes, **({"settings": settings} if settings else {})}


def read(desk: AppContext, choices: Choices) -> TrainPreset:
    """The recipe that was chosen. Raises ConfigError in one sentence."""
    base, changes = read_changes(desk, choices)
    return change_preset(base, changes)


def command(choices: Choices, changes: Mapping[str, Any]) -> str:
    """The same run from a shell."""
    flat = {name: value for name, value in changes.items() if name != "settings"}
    flat |= {f"settings.{name}": value for name, value in changes.get("settings", {}).items()}
    sets = [f"--set {shlex.quote(f'{name}={_json(value)}')}" for name, value in flat.items()]
    start = [f"--start {shlex.quote(choices['adapter'])}"] if choices.get("adapter") else []
    share = [f"--gpus {shlex.quote(str(choices['share']))}"] if choices.get("share") else []
    verb = ["dailies clone", choices["run"]] if choices["run"] else ["dailies train", choices["recipe"]]
    return " ".join([*verb, *sets, *start, *share, "--queue"])


def _json(value: Any) -> str:
    """A value as `--set` reads it: a text that JSON would take for something else stands in quotation marks."""
    if value is None:
        return "null"
    if isinstance(value, str) and _is_json(value):
        return json.dumps(value)
    return shown(value)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def outlook(desk: AppContext, choices: Choices) -> dict[str, Any]:
    """What the form says of its choices: the command, what is changed, memory and time; or what will not do."""
    base, changes = read_changes(desk, choices)
    preset = change_preset(base, changes)
    found = forecast(preset, device_gib() * (place(choices).gpus or 1), list_runs(desk.workspace)[:LEARNED_FROM])
    return {
        "command": command(choices, changes),
        "changed": [*(name for name in changes if name != "settings"), *changes.get("settings", {})],
        "memory": memory_of(found),
        "time": _time(found),
    }


def memory_of(found: RunEstimate | None) -> dict[str, Any]:
    if found is None:
        return {"verdict": "unknown", "sentence": training.NO_FORECAST, "share": None}
    need, factor = found.need, found.factor
    sentence = training.memory(need.low * factor, need.high * factor, found.total_gib, found.verdict, need.busiest)
    if found.advice is not None:
        change = found.advice
        sentence += " " + training.advice(change.setting, change.value, change.need.peak * factor, change.verdict)
    return {"verdict": found.verdict, "sentence": sentence, "share": min(1.0, need.peak * factor / found.total_gib)}


def _time(found: RunEstimate | None) -> str:
    if found is None or (found.seconds is None and found.steps is not None):
        return training.NO_TIME
    if found.seconds is None:
        return training.NO_LENGTH
    return training.time(found.seconds, found.learned_from, at_most=found.at_most)


@cache
def device_gib() -> float:
    """Memory of the first GPU; without one, the machine's."""
    snapshot = Telemetry().snapshot()
    sizes = [gpu.mem_total_b for gpu in snapshot.gpus if gpu.mem_total_b]
    return (sizes[0] if sizes else snapshot.ram_total_b) / GIB


def place(choices: Choices) -> Resources:
    """What the run is given. Raises ConfigError."""
    return read_resources({"gpus": choices["share"]} if choices.get("share") else {})


# ---- What is done with it
def queue(desk: AppContext, choices: Choices) -> dict[str, Any]:
    """Make a run of the recipe and queue it."""
    preset = read(desk, choices)
    outlook(desk, choices)
    start = find_adapter(desk.workspace, choices["adapter"], preset.model).folder if choices.get("adapter") else None
    given = place(choices)
    run = create_run(desk.store, preset, start, request_key("run"))
    try:
        job = desk.file(JobSpec.train(run.id, given))
    except DailiesError:
        run.discard()
        raise
    return {"run": run.id, "note": training.filed(run.id, job.position)}


def check(desk: AppContext, choices: Choices) -> dict[str, Any]:
    """Queue a look at the recipe."""
    return {"job": desk.file_shared(JobSpec.preflight(read(desk, choices), choices.get("adapter") or None)).id}


def verdicts(desk: AppContext, job_id: str) -> dict[str, Any]:
    """How the check of a recipe came out: `over` when it did, with its verdicts; `ended` says in words that it found
    none, and `failed` whether that is an error."""
    job = desk.queue.get(job_id)
    found = (job.result or {}).get("verdicts", [])
    ended = (job.error or text.JOB_ENDS.get(job.status, "")) if job.is_over and not found else ""
    waits = job.status == "queued"
    failed = bool(ended) and job.status in ("failed", "lost")
    said = {"ended": ended, "failed": failed, "waits": waits, "note": line(job)}
    return {"over": job.is_over, "verdicts": found, **said}


def save(desk: AppContext, choices: Choices) -> dict[str, Any]:
    """Keep the choices as a recipe of the workspace, and open it."""
    key = str(choices.get("key") or "")
    title = key.replace("_", " ").strip().capitalize()
    preset = change_preset(read(desk, choices), {"key": key, "title": title, "notes": training.SAVED_NOTES})
    save_train_preset(desk.workspace, preset)
    return {"form": opened(desk, key), "note": training.saved(key)}
