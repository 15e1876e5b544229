"""The Train tab's form: its options, the preset that the choices make, and its estimates.

`Choices` is sent by the form's script: {preset, run, model, adapter, prompts, pairs, campaign, judge, judge_agreement,
mix, rewards, share, settings: {name: text}}. `run` is a run whose settings replace those of `preset` as the base,
else "". `share` is the reserved share of a device, "" for all of it.
"""

import json
import shlex
from collections.abc import Mapping
from typing import Any, Required

from typing_extensions import TypedDict

from app.api.server_folders import opened_path
from app.context import AppContext
from app.forms.adapter_fields import offered_adapters
from app.forms.preset_choices import model_groups, preset_choices
from app.middleware.idempotency import request_key
from app.text import jobs, training
from app.views.jobs import line
from app.views.training import preset_facts
from engine.config.algorithms import ALGORITHMS
from engine.config.form_settings import FormSetting, settings_of
from engine.config.model_availability import check_available, why_unavailable
from engine.config.presets import change_preset, load_preset, save_train_preset
from engine.config.prompts import prompt_sets
from engine.config.reward_availability import why_rewards_unavailable
from engine.config.schema import TrainPreset
from engine.errors import ConfigError
from engine.estimation.run_estimate import RunEstimate, forecast
from engine.execution.resources import Resources, read_resources
from engine.generation.validation import why_untrainable
from engine.hardware.telemetry.monitor import device_gib
from engine.jobs.spec import JobSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.judge_votes import pairwise_judges
from engine.runs.adapters import find_adapter
from engine.runs.run import Run, list_runs
from engine.runs.run_notes import write_notes
from engine.training.run_creation import create_run

Choices = Mapping[str, Any]
FIRST_PRESET = "mini_grpo"
FILES = ("data",)  # settings that name files of the server
CHOSEN = ("model", "mix", "prompts", "pairs", "campaign", "judge", "rewards")
ABOUT = ("title", "source", "notes")
CURRICULUM = "curriculum:"  # prefix of a curriculum's key in the list of presets
LEARNED_FROM = 20  # newest runs that durations are estimated from


class Chosen(TypedDict, total=False):
    """Choices sent by the form's script."""

    preset: Required[str]
    run: Required[str]
    curriculum: str | None
    model: str | None
    adapter: str | None
    prompts: str | None
    pairs: str | None
    campaign: str | None
    judge: str | None
    judge_agreement: str | None
    mix: str | None
    rewards: str | None
    share: str | None
    key: str | None
    name: str | None
    settings: Required[dict[str, str | bool | int | float | None]]


def open_form(context: AppContext, preset_key: str = "", run: str = "") -> dict[str, Any]:
    """Return the form filled from a preset or a run's settings. Raises ConfigError if there is none."""
    presets = preset_choices("train")
    keys = [key for _, key in presets]
    preset_key = preset_key or (FIRST_PRESET if FIRST_PRESET in keys else next(iter(keys), ""))
    if not preset_key and not run:
        raise ConfigError("There is no training preset: add one to presets/train.")
    preset = _base(context, preset_key, run)
    chosen = {name: getattr(preset, name) or "" for name in CHOSEN}
    return {
        "presets": _options(presets),
        "curricula": curricula(),
        "about": {**{name: getattr(preset, name) for name in ABOUT}, "does": ALGORITHMS[preset.algorithm].does},
        "offered": _options_of(context, preset),
        "settings": [_setting(setting, preset) for setting in settings_of(preset.algorithm)],
        "choices": {
            **chosen,
            "judge_agreement": format_setting(preset.judge_agreement),
            "preset": preset_key,
            "run": run,
            "adapter": "",
            "settings": {},
        },
    }


def _base(context: AppContext, preset_key: str, run: str) -> TrainPreset:
    return Run.find(context.workspace, run).preset() if run else load_preset("train", preset_key)


def _options_of(context: AppContext, base: TrainPreset) -> dict[str, Any]:
    names = prompt_sets()
    return {
        **current_options(context),
        "mixes": _options(preset_choices("rewards")) if base.mix else [],
        "prompts": _options([(name, name) for name in sorted({*names, base.prompts})]) if base.prompts else [],
        "makes_clips": base.mix is not None,
    }


def current_options(context: AppContext) -> dict[str, Any]:
    """Return options that change while the page is open.

    They are models in groups, adapters by model, campaigns, and AI labellers.
    """
    models = [{**option, "group": group} for group, found in _trainable().items() for option in _options(found)]
    return {
        "models": models,
        "adapters": {
            model["key"]: _options(
                [(adapter.title, name) for name, adapter in offered_adapters(context.workspace, model["key"]).items()]
            )
            for model in models
        },
        "judges": [{"key": key, "title": title} for key, title in pairwise_judges().items()],
        "campaigns": [{"key": item.id, "title": item.title} for item in Campaigns(context.store).list()],
    }


def _trainable() -> dict[str, list[tuple[str, str]]]:
    """Return the models that can be trained by title, in the groups of `model_groups`."""
    return {
        group: [(title, key) for title, key in found if why_untrainable(load_preset("models", key)) is None]
        for group, found in model_groups().items()
    }


def _options(choices: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"key": key, "title": title} for title, key in choices]


def curricula() -> list[dict[str, str]]:
    return [{"key": f"{CURRICULUM}{key}", "title": title} for title, key in preset_choices("curricula")]


def _setting(setting: FormSetting, base: TrainPreset) -> dict[str, Any]:
    """Return a row of the form: `value` of the base as text, `own` if the base sets it explicitly."""
    own = setting.name in base.settings
    value = base.settings[setting.name] if own else setting.default
    texts = {"range": setting.range.words if setting.range else "", "value": format_setting(value)}
    return {**setting.model_dump(mode="json"), **texts, "own": own, "default": format_setting(setting.default)}


def format_setting(value: Any) -> str:
    """Format a setting as users type it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(format_setting(item) for item in value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


# ---- Reading the choices
def read_changes(context: AppContext, choices: Choices) -> tuple[TrainPreset, dict[str, Any]]:
    """Return the base preset and the changes to it. Raises ConfigError for the first invalid choice."""
    base = _base(context, choices["preset"], choices["run"])
    choices = {**choices, **({"pairs": ""} if choices.get("campaign") else {"judge": ""})}
    changes: dict[str, Any] = {
        name: choices[name] or None for name in CHOSEN if (choices.get(name) or None) != (getattr(base, name) or None)
    }
    if changes.get("pairs"):
        changes["pairs"] = str(opened_path(context, changes["pairs"]))
    if changes.get("prompts") and changes["prompts"] not in prompt_sets():
        changes["prompts"] = str(opened_path(context, changes["prompts"]))
    if changes.get("judge") or base.judge:
        least = read_share(choices.get("judge_agreement") or "")
        changes |= {"judge_agreement": least} if least != base.judge_agreement else {}
    settings, mistakes = read_settings(context, base, choices)
    if mistakes:
        raise ConfigError(next(iter(mistakes.values())))
    return base, {**changes, **({"settings": settings} if settings else {})}


def read_share(typed: str) -> float:
    """Read the least agreement of an AI labeller. Raises ConfigError unless it is a number from 0 to 1."""
    try:
        share = float(typed)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ConfigError(training.BAD_SHARE.format(got=str(typed)[:40]))
    return share


def read_settings(context: AppContext, base: TrainPreset, choices: Choices) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the changed settings, and one sentence for each that cannot be read or is out of range."""
    known_settings = {setting.name: setting for setting in settings_of(base.algorithm)}
    settings: dict[str, Any] = {}
    mistakes: dict[str, str] = {}
    for name, typed in choices.get("settings", {}).items():
        if name not in known_settings:
            raise ConfigError(f"There is no setting '{name[:40]}' for {base.algorithm}.")
        before = base.settings.get(name, known_settings[name].default)
        if format_setting(before) == str(typed).strip():
            continue
        try:
            value = known_settings[name].read(typed)
            if name in FILES and value is not None:
                value = str(opened_path(context, str(value)))
        except ConfigError as error:
            mistakes[name] = str(error)
            continue
        if value != before:
            settings[name] = value
    return settings, mistakes


def read_preset(context: AppContext, choices: Choices) -> TrainPreset:
    """Return the chosen preset. Raises ConfigError in one sentence."""
    base, changes = read_changes(context, choices)
    return change_preset(base, changes)


def command(choices: Choices, changes: Mapping[str, Any]) -> str:
    """Return the shell command that queues the same run."""
    flat = {name: value for name, value in changes.items() if name != "settings"}
    flat |= {f"settings.{name}": value for name, value in changes.get("settings", {}).items()}
    sets = [f"--set {shlex.quote(f'{name}={_json(value)}')}" for name, value in flat.items()]
    start = [f"--start {shlex.quote(choices['adapter'])}"] if choices.get("adapter") else []
    share = [f"--gpus {shlex.quote(str(choices['share']))}"] if choices.get("share") else []
    verb = ["dailies clone", choices["run"]] if choices["run"] else ["dailies train", choices["preset"]]
    return " ".join([*verb, *sets, *start, *share, "--queue"])


def _json(value: Any) -> str:
    """Format a value for `--set`; a string that is valid JSON is quoted."""
    if value is None:
        return "null"
    if isinstance(value, str) and _is_json(value):
        return json.dumps(value)
    return format_setting(value)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def estimate_form(context: AppContext, choices: Choices) -> dict[str, Any]:
    """Return command, changes, memory and time of the choices. Raises ConfigError for an invalid one.

    `fields` has a sentence for each invalid setting; then there is nothing else. `blocked` is one sentence why such a
    run cannot start on this machine, "" if it can. `facts` are the model and the data, each {ok, line}.
    """
    invalid = read_settings(context, _base(context, choices["preset"], choices["run"]), choices)[1]
    if invalid:
        return {"fields": invalid, "problem": training.mistakes(len(invalid))}
    base, changes = read_changes(context, choices)
    preset = change_preset(base, changes)
    if unfit := preset_facts.mistakes(preset):
        return {"fields": unfit, "problem": training.mistakes(len(unfit))}
    estimate = forecast(
        preset, device_gib() * (resources_of(choices).gpus or 1), list_runs(context.workspace)[:LEARNED_FROM]
    )
    no_model = why_unavailable(load_preset("models", preset.model))
    blocked = " ".join(filter(None, (why_rewards_unavailable(preset), no_model)))
    data = preset_facts.data_fact(context, preset)
    return {
        "command": command(choices, changes),
        "changed": [*(name for name in changes if name != "settings"), *changes.get("settings", {})],
        "memory": memory_of(estimate),
        "time": _time(estimate),
        "facts": {"model": preset_facts.model_fact(preset), "data": data},
        "blocked": blocked or ("" if data["ok"] else data["line"]),
        "missing": "models" if no_model else "",
    }


def memory_of(estimate: RunEstimate | None) -> dict[str, Any]:
    if estimate is None:
        return {"verdict": "unknown", "sentence": training.NO_FORECAST, "share": None}
    need, factor = estimate.memory, estimate.factor
    sentence = training.memory(
        need.low * factor, need.high * factor, estimate.total_gib, estimate.verdict, need.busiest
    )
    if estimate.advice is not None:
        change = estimate.advice
        sentence += " " + training.advice(change.setting, change.value, change.memory.peak * factor, change.verdict)
    return {
        "verdict": estimate.verdict,
        "sentence": sentence,
        "share": min(1.0, need.peak * factor / estimate.total_gib),
    }


def _time(estimate: RunEstimate | None) -> str:
    if estimate is None or (estimate.seconds is None and estimate.steps is not None):
        return training.NO_TIME
    if estimate.seconds is None:
        return training.NO_LENGTH
    return training.time(estimate.seconds, estimate.learned_from, at_most=estimate.at_most)


def resources_of(choices: Choices) -> Resources:
    """Return the resources requested for the run. Raises ConfigError."""
    return read_resources({"gpus": choices["share"]} if choices.get("share") else {})


# ---- Actions
def queue(context: AppContext, choices: Choices) -> dict[str, Any]:
    """Create a run of the chosen preset and queue it."""
    preset = read_preset(context, choices)
    check_available(load_preset("models", preset.model))
    estimate = estimate_form(context, choices)
    if estimate.get("fields") or estimate["blocked"]:
        raise ConfigError(next(iter(estimate.get("fields", {}).values()), estimate.get("blocked", "")))
    start = find_adapter(context.workspace, choices["adapter"], preset.model).folder if choices.get("adapter") else None
    resources = resources_of(choices)
    run = create_run(context.store, preset, start, request_key("run"))
    if name := str(choices.get("name") or "")[:80]:  # no more can be typed
        write_notes(run, name, [])
    job = context.submit(JobSpec.train(run.id, resources), discard=run.discard)
    return {"run": run.id, "note": training.submitted(run.id, job.position)}


def queue_preflight(context: AppContext, choices: Choices) -> dict[str, Any]:
    """Queue the preflight checks of the chosen preset."""
    spec = JobSpec.preflight(read_preset(context, choices), choices.get("adapter") or None)
    return {"job": context.submit_shared(spec).id}


def preflight_result(context: AppContext, job_id: str) -> dict[str, Any]:
    """Return the result of a preflight job.

    `over` is true once it has ended, with its `verdicts`. Without verdicts, `ended` gives the reason, and `failed` is
    true if that is an error.
    """
    job = context.queue.get(job_id)
    checks = (job.result or {}).get("verdicts", [])
    ended = (job.error or jobs.JOB_ENDS.get(job.status, "")) if job.is_over and not checks else ""
    waits = job.status == "queued"
    failed = bool(ended) and job.status in ("failed", "lost")
    state = {"ended": ended, "failed": failed, "waits": waits, "note": line(job)}
    return {"over": job.is_over, "verdicts": checks, **state}


def save_preset(context: AppContext, choices: Choices) -> dict[str, Any]:
    """Save the choices as a preset of the workspace, and return its form."""
    key = str(choices.get("key") or "")
    title = key.replace("_", " ").strip().capitalize()
    preset = change_preset(read_preset(context, choices), {"key": key, "title": title, "notes": training.SAVED_NOTES})
    save_train_preset(context.workspace, preset)
    return {"form": open_form(context, key), "note": training.saved(key)}
