"""Tables of the documentation about training: presets with their forecasts, curricula, preflight checks, metrics."""

from pathlib import Path

from app.text.monitor import METRICS
from engine.config.form_settings import settings_of
from engine.config.presets import load_preset, load_train_preset, preset_keys
from engine.config.schema import TrainPreset
from engine.estimation.model_forecast import CARDS
from engine.estimation.run_estimate import forecast
from engine.estimation.run_time import run_seconds
from engine.hardware.environment import environment
from engine.training.preflight.preflight_check import CHECKS
from engine.workspace import Workspace
from rewards.weights.needed import needed_weights
from rewards.weights.sources import Asset
from tools.docs.markdown import markdown
from tools.docs.metric_notes import METRIC_NOTES

TIMED = CARDS[2]
GRPO_ORIGINS = {
    "window": "Flow-GRPO: all steps are random; MixGRPO trains a window of 4",
    "step_choice": "MixGRPO; it has no effect while `window` is unset",
    "sde_form": "Flow-GRPO",
    "step_weight": "Flow-GRPO: all steps count alike",
    "ratio": "PPO's clip, as in Flow-GRPO",
    "epsilon": "this project: log-probabilities are means over a clip, so that ratios move by about 1e-5",
    "beta": "TRL: no KL term",
    "num_generations": "TRL and this project",
    "num_iterations": "TRL",
    "advantage_scale": "LongCat-Video: the largest std of the groups",
    "advantage_floor": "this project",
    "advantage_limit": "this project",
    "multi_objective_aggregation": "GDPO: each reward is normalised before they are summed",
}


def presets() -> str:
    """Return one row per training preset: what it trains, and its forecast memory and time."""
    rows = []
    for key in preset_keys("train"):
        preset = load_train_preset(key)
        rows.append((f"`{key}`", preset.title, preset.algorithm, preset.model, *_forecast(preset)))
    head = (
        "key",
        "preset",
        "algorithm",
        "model",
        "updates",
        "memory (estimate)",
        f"time on one {TIMED.name} (estimate)",
    )
    return markdown(head, rows)


def _forecast(preset: TrainPreset) -> tuple[str, str, str]:
    """Return the updates, the memory and the time of a run; those for `mini` are made for a CPU."""
    found, seconds = forecast(preset, TIMED.memory_gib), run_seconds(preset, TIMED)
    updates = str(found.steps) if found and found.steps else "by epochs"
    if load_preset("models", preset.model).judge:
        return updates, "a CPU's", "made for a CPU"
    memory = f"{found.memory.low:.0f} to {found.memory.high:.0f} GiB" if found else "unknown"
    return updates, memory, hours(seconds) if seconds is not None else "unknown"


def hours(seconds: float) -> str:
    """Return a time of at least minutes, in the unit that suits it."""
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * 86_400 else f"{seconds / 86_400:.1f} days"


def preset_sources() -> str:
    """Return one row per training preset: where its settings come from, and what was measured."""
    loaded = [load_preset("train", key) for key in preset_keys("train")]
    return markdown(("key", "source of its settings", "measured"), ((f"`{p.key}`", p.source, p.notes) for p in loaded))


def curricula() -> str:
    """Return one row per curriculum: its stages in order."""
    loaded = [load_preset("curricula", key) for key in preset_keys("curricula")]
    rows = ((f"`{p.key}`", p.title, ", ".join(stage.name for stage in p.stages), p.source, p.notes) for p in loaded)
    return markdown(("key", "curriculum", "stages", "source of its settings", "measured"), rows)


def grpo_defaults() -> str:
    """Return one row per setting of GRPO whose default differs from TRL's or is of this project, with its origin."""
    found = {setting.name: setting for setting in settings_of("grpo")}
    rows = ((f"`{name}`", f"`{_shown(found[name].default)}`", origin) for name, origin in GRPO_ORIGINS.items())
    return markdown(("setting", "default", "where from"), rows)


def _shown(value: object) -> str:
    return "unset" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def mix_weights() -> str:
    """Return one row per reward mix: the networks that must be on the machine, and their size in MB."""
    rows = []
    for key in preset_keys("rewards"):
        needed = needed_weights(load_preset("rewards", key))
        fetched = {name: weights for name, weights in needed.items() if not isinstance(weights.source, Asset)}
        size = f"{sum(weights.size_mb for weights in fetched.values()):,.0f} MB" if fetched else ""
        names = ", ".join(f"`{name}`" for name in fetched) or "none beyond those that are part of the code"
        rows.append((f"`{key}`", names, size))
    return markdown(("mix", "keys for `dailies weights get`", "size"), rows)


def metrics() -> str:
    """Return one row per metric of training: its title on the page, its meaning, a healthy range, what to do."""
    return markdown(
        ("metric", "title on the page", "meaning", "healthy", "otherwise"),
        ((name, METRICS[name].replace("|", "\\|"), *notes) for name, notes in METRIC_NOTES.items()),
    )


def environment_variables() -> str:
    """Return one row per variable that Dailies sets on ROCm, unless the user has set it."""
    found = environment(Workspace(Path("workspace")), {}, rocm=True)
    rows = ((f"`{one.name}`", f"`{_relative(one.value)}`", one.reason) for one in found.settings)
    return markdown(("variable", "value", "reason"), rows)


def _relative(value: str) -> str:
    """Return a path inside the workspace without the folder that the documentation was made in."""
    return f"workspace/{Path(value).name}" if "/" in value else value


def checks() -> str:
    """Return one row per preflight check: its label on the page, its name in files, and what it compares."""
    rows = ((check.label, f"`{name}`", check.compares) for name, check in CHECKS.items())
    return markdown(("check", "in `preflight.json`", "compares"), rows)
