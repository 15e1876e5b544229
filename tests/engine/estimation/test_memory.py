"""Memory estimates against fake-tensor peaks of the real classes and against recorded peaks."""

from dataclasses import replace
from typing import Any

import pytest

from engine.config.presets import load_preset, load_train_preset, preset_keys
from engine.estimation.flops import FlopCount, Throughput, forward_flop, linear_flop, seconds_per_update
from engine.estimation.memory import (
    GIB,
    TrainingLoad,
    advice,
    calibration_factor,
    decode,
    estimate_memory,
    forward_activations,
    options_of,
    training_state,
    update_activations,
    usable_gib,
    verdict,
    weights,
)
from engine.estimation.run_estimate import flop_per_update, forecast, load_of
from engine.estimation.run_plan import plan
from engine.runs.run import Run
from engine.workspace import Workspace
from tools.memory.measure import Shape, opened

WITHIN = 0.15
BUILT = ("mini", "ltx")
MEASURED = [key for key in preset_keys("models") if load_preset("models", key).network is not None]


def load_for(model: str, **others: Any) -> TrainingLoad:
    options = options_of(load_preset("models", model))
    whole = {"num_frames": 65, "width": 512, "height": 512, "graph_clips": 1, "lora_rank": 32}
    return TrainingLoad(**{**options, **whole, **others})


@pytest.mark.double("memory law")
@pytest.mark.parametrize("key", MEASURED)
def test_the_laws_hold_at_other_shapes(key: str) -> None:
    """`tools.memory` compares them with peaks at a shape that they were not fitted to."""
    shape = load_preset("models", key).network
    assert shape is not None and shape.error < 0.1, key
    assert shape.float8_gib < shape.network_gib and shape.offloaded_gib <= shape.network_gib


@pytest.mark.double("memory law")
@pytest.mark.parametrize(
    "key", [key if key in BUILT else pytest.param(key, marks=pytest.mark.slow) for key in MEASURED]
)
def test_sizes_are_those_of_the_real_configuration(key: str) -> None:
    """The tables are not written by hand: networks of fake tensors are built from the configuration again."""
    with opened(key) as subject:
        sizes = subject.sizes()
    shape = load_preset("models", key).network
    assert shape is not None
    for name, value in sizes.items():
        table = getattr(shape, name)
        assert table == (pytest.approx(value, rel=1e-3) if isinstance(value, float) else value), name


def test_the_laws_foretell_peaks_of_the_real_networks() -> None:
    """At a shape of its own: not one of those that the laws were fitted to or checked with."""
    shape = Shape(1, 33, 640, 352)
    load = load_for(
        "wan21_1_3b", num_frames=33, width=640, height=352, rollout_clips=1, checkpointed=True, lora_rank=16
    )
    with opened("wan21_1_3b") as subject:
        found = subject.forward(shape), subject.decode(shape), subject.update(shape, checkpointed=True)
    foretold = forward_activations(load), decode(load), update_activations(load)
    for peak, law in zip(found, foretold, strict=True):
        assert law == pytest.approx(peak, rel=0.05)


@pytest.mark.parametrize(
    ("model", "changes", "gib"),
    [
        ("wan21_1_3b", {"graph_clips": 1, "checkpointed": True}, 6.9),
        ("wan21_1_3b", {"graph_clips": 2, "checkpointed": True}, 10.7),
        ("wan21_1_3b", {"graph_clips": 6, "checkpointed": True}, 25.8),
        ("wan21_1_3b", {"graph_clips": 6}, 302),
    ],
)
def test_peaks_of_another_script_are_foretold(model: str, changes: dict[str, Any], gib: float) -> None:
    """Peaks recorded by another script at full size: two updates, AdamW, given latents, of the network alone.

    Its LoRA had other layers too, without peft's copies in float32, and its networks one timestep a clip. So it is
    comparable for Wan 2.1 only.
    """
    load = load_for(model, **changes)
    alone = {"vae_gib": 0.0, "text_gib": 0.0, "other_gib": 0.0}
    network = replace(load, shape=load.shape.model_copy(update=alone))
    foretold = (weights(network) + training_state(network) + update_activations(network)) / GIB
    assert foretold == pytest.approx(gib, rel=WITHIN)


def test_the_peak_of_an_h100_is_foretold() -> None:
    """Measured on an H100 (docs/results.md): four clips of 65 frames at 512x512 in one graph, LoRA of rank 32."""
    load = load_for("wan21_1_3b", graph_clips=4, checkpointed=True)
    load = replace(load, shape=load.shape.model_copy(update={"text_gib": 0.0}))
    assert estimate_memory(load).peak == pytest.approx(18.70, rel=0.1)


# ---- The laws in themselves
def test_more_of_anything_never_needs_less() -> None:
    base = load_for("wan21_1_3b", rollout_clips=2)
    for changes in ({"graph_clips": 2}, {"rollout_clips": 9}, {"num_frames": 81}, {"copies": 2}, {"width": 832}):
        assert estimate_memory(replace(base, **changes)).peak >= estimate_memory(base).peak
    assert estimate_memory(replace(base, checkpointed=True)).peak < estimate_memory(base).peak


def test_the_verdict_and_what_to_change() -> None:
    load = load_for("wan21_1_3b", graph_clips=6)
    assert usable_gib(192) == pytest.approx(168.8)
    assert verdict(estimate_memory(load), 192) == "too_large"
    change = advice(load, 192)
    assert change is not None and (change.setting, change.value, change.verdict) == (
        "gradient_checkpointing",
        "true",
        "fits",
    )
    nothing_fits = advice(replace(load, checkpointed=True), 4)
    assert nothing_fits is not None and nothing_fits.verdict == "too_large"


def test_a_tight_run_is_between_both() -> None:
    load = load_for("wan21_1_3b", graph_clips=6, checkpointed=True)
    peak = estimate_memory(load).peak
    assert verdict(estimate_memory(load), (peak / 0.9 + 4) / 0.9) == "tight"
    assert verdict(estimate_memory(load), 3) == "too_large"


def test_finished_runs_correct_the_law() -> None:
    assert calibration_factor([]) == 1.0
    assert calibration_factor([(10, 12), (10, 11), (20, 60)]) == 1.2


def test_an_update_takes_as_long_as_the_nearest_run_tells() -> None:
    assert seconds_per_update(1e12, []) is None
    paces = [Throughput(flop=1e15, seconds=100.0), Throughput(flop=2e12, seconds=1.0)]
    assert seconds_per_update(1e12, paces) == pytest.approx(0.5)


def test_checkpoints_cost_a_forward_pass_more() -> None:
    shape = load_for("mini").shape
    plain, recomputed = FlopCount(forward=1, trained=2), FlopCount(forward=1, trained=2, checkpointed=True)
    assert plain.flop(shape, 100) == 7 * forward_flop(shape, 100)
    assert recomputed.flop(shape, 100) == 9 * forward_flop(shape, 100)


def test_frozen_weights_have_no_gradients_of_their_own() -> None:
    shape = load_for("mini").shape
    whole, adapter = FlopCount(forward=0, trained=1), FlopCount(forward=0, trained=1, frozen=True)
    assert whole.flop(shape, 100) - adapter.flop(shape, 100) == linear_flop(shape, 100)
    attention = forward_flop(shape, 100) - linear_flop(shape, 100)
    assert adapter.flop(shape, 100) == pytest.approx(2 * linear_flop(shape, 100) + 3 * attention)


@pytest.mark.parametrize("key", preset_keys("train"))
def test_every_preset_is_foretold(key: str) -> None:
    found = forecast(load_train_preset(key), 192.0)
    assert found is not None and 0 < found.memory.low < found.memory.peak < found.memory.high


def test_a_larger_group_of_settings_follows_through_to_the_load() -> None:
    small, large = (load_train_preset("mini_nft", {"settings": {"num_frames": n}}) for n in (17, 33))
    plans = [plan(preset) for preset in (small, large)]
    assert [one.tokens for one in plans if one] == [5 * 16, 9 * 16]
    assert load_of(plans[1]).tokens > load_of(plans[0]).tokens  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("preset", "settings", "copies"),
    [
        ("mini_grpo", {"ema_decay": 0.0}, 0),
        ("mini_grpo", {"ema_decay": 0.9, "frozen_adapter": "fast"}, 2),
        ("mini_nft", {"ema_decay": 0.0}, 1),
        ("mini_distill", {"ema_decay": 0.9}, 2),
        ("mini_awm", {"ema_decay": 0.0}, 2),
        ("mini_awm", {"ema_decay": 0.0, "moving_beta": 0.0}, 1),
        ("mini_rvm", {"ema_decay": 0.0}, 0),
        ("mini_dgpo", {"ema_decay": 0.9}, 2),
    ],
)
def test_the_copies_of_the_weights_are_those_that_the_trainers_keep(
    preset: str, settings: dict[str, object], copies: int
) -> None:
    planned = plan(load_train_preset(preset, {"settings": settings}))
    assert planned is not None
    assert load_of(planned).copies == copies


# ---- What runs on this machine have told
def test_runs_that_needed_more_than_was_foretold_correct_the_forecast(workspace: Workspace) -> None:
    preset = load_train_preset("grpo_online", {"settings": {"num_frames": 81}})
    before = forecast(preset, 192.0)
    assert before is not None and before.factor == 1.0
    run = Run.create(workspace, preset)
    for step, share in ((1, 1.5), (2, 2.0)):
        run.append_metrics(step, {"memory/reserved": share * before.memory.peak, "time/step": 40.0})
    found = forecast(preset, 192.0, [run])
    assert found is not None and found.factor == pytest.approx(2.0) and found.memory == before.memory
    assert found.seconds == pytest.approx(40.0 * int(str(preset.settings["max_steps"])))
    just_enough = before.memory.peak / 0.8 / 0.9 + 5
    tight = forecast(preset, just_enough)
    assert tight is not None and tight.verdict == "fits"
    learned_from = forecast(preset, just_enough, [run])
    assert learned_from is not None and learned_from.verdict == "too_large" and learned_from.advice is not None
    run.append_metrics(3, {"memory/reserved": 3 * before.memory.peak})
    again = forecast(preset, 192.0, [run])
    assert again is not None and again.factor == pytest.approx(3.0), "a run that continues is read again"
    other = forecast(load_train_preset("mini_grpo"), 192.0, [run])
    assert other is not None and other.factor == 1.0 and other.seconds is None, "of another model"


@pytest.mark.parametrize("key", preset_keys("train"))
def test_the_time_of_every_algorithm_follows_its_length(key: str, workspace: Workspace) -> None:
    preset = load_train_preset(key)
    run = Run.create(workspace, preset)
    run.append_metrics(1, {"time/step": 2.0})
    steps = int(str(preset.settings["max_steps"]))
    found = forecast(preset, 192.0, [run])
    assert found is not None and found.seconds == pytest.approx(2.0 * steps)


def test_a_students_work_is_its_teachers_clips_and_its_own_steps() -> None:
    def flop(**settings: object) -> float:
        planned = plan(load_train_preset("mini_distill", {"settings": settings}))
        assert planned is not None
        return flop_per_update(planned)

    assert flop(num_steps=20, student_steps=2) < flop(num_steps=20, student_steps=4)
    assert flop(num_steps=10) < flop(num_steps=20)
    assert flop(rollout_clips=8) < flop(rollout_clips=32)
    assert flop(target="trajectory") < flop(target="consistency")
    few, many = (plan(load_train_preset("mini_distill", {"settings": {"rollout_batch": n}})) for n in (1, 64))
    assert few is not None and many is not None
    assert estimate_memory(load_of(few)).rollout < estimate_memory(load_of(many)).rollout


@pytest.mark.parametrize("algorithm", ["sft", "kto", "dpo", "draft", "dmd"])
def test_samples_and_alarms_count_where_training_makes_no_clips(algorithm: str) -> None:
    """They are made before the first update. Guidance takes two rows for each clip."""
    preset = load_train_preset("mini_nft").model_copy(update={"algorithm": algorithm, "model": "wan21_1_3b"})
    settings = {"max_steps": 12, "per_device_train_batch_size": 2, "gradient_checkpointing": True}

    def load(every: int, **others: object) -> TrainingLoad:
        alarms = preset.alarms.model_copy(update={"every": every})
        planned = plan(preset.model_copy(update={"settings": {**settings, **others}, "alarms": alarms}))
        assert planned is not None
        return load_of(planned)

    assert load(0, sample_clips=0).rollout_clips == 0
    for made in (load(0), load(25, sample_clips=0)):
        assert made.rollout_clips == 2 * 2
        assert estimate_memory(made).rollout > 0 < estimate_memory(made).decode


def test_advice_names_settings_that_the_algorithm_has() -> None:
    """Without rollouts a smaller training batch makes smaller samples."""
    load = load_for("wan21_1_3b", rollout_clips=64, graph_clips=4, checkpointed=True)
    change = advice(load, 16)
    assert change is not None and change.setting == "per_device_train_batch_size"
    rollouts = advice(replace(load, rollout_batch=32), 16)
    assert rollouts is not None and rollouts.setting == "rollout_batch"
