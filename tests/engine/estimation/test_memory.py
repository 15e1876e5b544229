"""Memory estimates against fake-tensor peaks of the real classes and against recorded peaks."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from engine.config.presets import load_preset, load_train_preset, preset_keys
from engine.config.schema import NetworkShape
from engine.estimation.flops import FlopCount, Throughput, forward_flop, linear_flop, seconds_per_update
from engine.estimation.memory import (
    GIB,
    TrainingLoad,
    advice,
    calibration_factor,
    decode,
    estimate_memory,
    forward_activations,
    training_state,
    update_activations,
    usable_gib,
    verdict,
    weights,
)
from engine.estimation.run_estimate import flop_per_update, forecast, load_of, plan
from engine.runs.run import Run
from engine.workspace import Workspace

from .fake_memory import add_lora, fake, peak_of

GRID = (9, 16, 16)
TEXT = 64
WITHIN = 0.15


def load_for(model: str, **others: Any) -> TrainingLoad:
    shape = load_preset("models", model).network
    assert shape is not None
    whole = {"num_frames": 65, "width": 512, "height": 512, "tokens": 17 * 32 * 32, "graph_clips": 1, "lora_rank": 32}
    return TrainingLoad(**{"shape": shape, **whole, **others})


def toy(mlp_ratio: float, blocks: int, dtype: torch.dtype, **others: Any) -> TrainingLoad:
    """Sizes of the toy networks below, as the estimate takes them."""
    shape = NetworkShape(
        params=1, channels=512, blocks=blocks, mlp_ratio=mlp_ratio, decode_bytes=(0, 0), source="this test"
    )
    size = {"num_frames": 65, "width": 512, "height": 512, "tokens": GRID[0] * GRID[1] * GRID[2], "text_tokens": TEXT}
    fixed = {"graph_clips": 2, "rollout_clips": 2, "bytes_each": dtype.itemsize}
    return TrainingLoad(**{"shape": shape, **size, **fixed, **others})


def ltx(blocks: int) -> Any:
    from diffusers import LTXVideoTransformer3DModel

    return LTXVideoTransformer3DModel(
        num_attention_heads=8,
        attention_head_dim=64,
        num_layers=blocks,
        in_channels=48,
        out_channels=48,
        cross_attention_dim=512,
        caption_channels=96,
    )


def wan(blocks: int) -> Any:
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        num_attention_heads=8, attention_head_dim=64, num_layers=blocks, ffn_dim=2986, text_dim=96, freq_dim=256
    )


def ltx_input(dtype: torch.dtype) -> dict[str, Any]:
    t, h, w = GRID
    return {
        "hidden_states": torch.randn(2, t * h * w, 48, dtype=dtype),
        "encoder_hidden_states": torch.randn(2, TEXT, 96, dtype=dtype),
        "timestep": torch.full((2,), 500.0),
        "encoder_attention_mask": torch.ones(2, TEXT),
        "num_frames": t,
        "height": h,
        "width": w,
    }


def wan_input(dtype: torch.dtype) -> dict[str, Any]:
    t, h, w = GRID
    return {
        "hidden_states": torch.randn(2, 16, t, 2 * h, 2 * w, dtype=dtype),
        "encoder_hidden_states": torch.randn(2, TEXT, 96, dtype=dtype),
        "timestep": torch.full((2,), 500),
    }


NETWORKS = {"ltx": (ltx, ltx_input, 4.0), "wan": (wan, wan_input, 5.83)}


def fake_peak(name: str, blocks: int, dtype: torch.dtype, *, checkpointed: bool, backward: bool) -> int:
    """Bytes above the weights."""
    build, inputs, _ = NETWORKS[name]
    with fake(dtype) as make:
        network = make(lambda: build(blocks))
        add_lora(network, 16)
        if checkpointed:
            network.enable_gradient_checkpointing()
        network.train(checkpointed)
        at_rest, peak = peak_of(
            network, lambda: network(**inputs(dtype), return_dict=False)[0], dtype=dtype, backward=backward
        )
    return peak - at_rest


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("checkpointed", [True, False])
@pytest.mark.parametrize("blocks", [4, 8])
def test_an_update_needs_what_fake_tensors_need(name: str, checkpointed: bool, blocks: int) -> None:
    found = fake_peak(name, blocks, torch.bfloat16, checkpointed=checkpointed, backward=True)
    load = toy(NETWORKS[name][2], blocks, torch.bfloat16, checkpointed=checkpointed)
    assert update_activations(load) == pytest.approx(found, rel=WITHIN)


@pytest.mark.parametrize("checkpointed", [True, False])
def test_so_it_is_in_float32(checkpointed: bool) -> None:
    found = fake_peak("ltx", 6, torch.float32, checkpointed=checkpointed, backward=True)
    load = toy(4.0, 6, torch.float32, checkpointed=checkpointed)
    assert update_activations(load) == pytest.approx(found, rel=WITHIN + 0.1)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_rollout_needs_what_fake_tensors_need(name: str) -> None:
    found = fake_peak(name, 4, torch.bfloat16, checkpointed=False, backward=False)
    assert forward_activations(toy(NETWORKS[name][2], 4, torch.bfloat16)) == pytest.approx(found, rel=WITHIN)


@pytest.mark.parametrize("latent", [(3, 8, 8), (5, 16, 16)])
def test_decoding_needs_what_fake_tensors_need(latent: tuple[int, int, int]) -> None:
    from diffusers import AutoencoderKLLTXVideo

    with fake(torch.bfloat16) as make, torch.no_grad():
        vae = make(AutoencoderKLLTXVideo).eval()
        z = torch.randn(1, 128, *latent, dtype=torch.bfloat16)
        at_rest, peak = peak_of(vae, lambda: vae.decode(z, return_dict=False)[0], dtype=torch.float32, backward=False)
    t, h, w = latent
    load = load_for("ltx", num_frames=8 * (t - 1) + 1, height=32 * h, width=32 * w, rollout_clips=1)
    assert decode(load) == pytest.approx(peak - at_rest, rel=WITHIN)


@pytest.mark.parametrize(
    ("model", "changes", "gib"),
    [
        ("wan21_1_3b", {"graph_clips": 1, "checkpointed": True}, 6.9),
        ("wan21_1_3b", {"graph_clips": 2, "checkpointed": True}, 10.7),
        ("wan21_1_3b", {"graph_clips": 6, "checkpointed": True}, 25.8),
        ("wan21_1_3b", {"graph_clips": 6}, 302),
        ("wan22_5b", {"graph_clips": 6, "checkpointed": True, "tokens": 4352}, 20.9),
        ("wan22_5b", {"graph_clips": 6, "checkpointed": True, "tokens": 4352, "lora_rank": 0}, 81.9),
        ("longanimatediff", {"graph_clips": 1, "num_frames": 64, "checkpointed": True}, 14.9),
        ("longanimatediff", {"graph_clips": 6, "num_frames": 64, "checkpointed": True}, 76.0),
        ("longanimatediff", {"graph_clips": 1, "num_frames": 64}, 90.6),
    ],
)
def test_recorded_peaks_of_whole_models_are_foretold(model: str, changes: dict[str, Any], gib: float) -> None:
    """Peaks recorded with fake tensors at full size: two updates, AdamW, given latents; 20 to 70 s each.

    They were of the network alone, without the copy that is the reference of a whole network that trains.
    """
    load = load_for(model, **changes)
    network = replace(load, shape=load.shape.model_copy(update={"vae_params": 0.0, "text_params": 0.0}))
    reference = 0.0 if network.lora_rank else network.shape.params * 4
    foretold = (weights(network) + training_state(network) - reference + update_activations(network)) / GIB
    assert foretold == pytest.approx(gib, rel=WITHIN)


# ---- The laws in themselves
def test_more_of_anything_never_needs_less() -> None:
    base = load_for("wan21_1_3b", rollout_clips=2)
    for changes in ({"graph_clips": 2}, {"tokens": 40_000}, {"rollout_clips": 9}, {"num_frames": 81}, {"copies": 2}):
        assert estimate_memory(replace(base, **changes)).peak >= estimate_memory(base).peak
    assert estimate_memory(replace(base, checkpointed=True)).peak < estimate_memory(base).peak


def test_the_verdict_and_what_to_change() -> None:
    load = load_for("wan21_1_3b", graph_clips=6)
    assert usable_gib(192) == pytest.approx(168.8)
    assert verdict(estimate_memory(load), 192) == "too_large"
    change = advice(load, 192)
    assert change is not None and (change.setting, change.value, change.verdict) == (
        "checkpoint_blocks",
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
def test_every_recipe_is_foretold(key: str) -> None:
    found = forecast(load_train_preset(key), 192.0)
    assert found is not None and 0 < found.memory.low < found.memory.peak < found.memory.high


def test_a_larger_group_of_settings_follows_through_to_the_load() -> None:
    small, large = (load_train_preset("mini_nft", {"settings": {"num_frames": n}}) for n in (17, 33))
    plans = [plan(preset) for preset in (small, large)]
    assert [one.tokens for one in plans if one] == [3 * 16, 5 * 16]
    assert load_of(plans[1]).tokens > load_of(plans[0]).tokens  # type: ignore[arg-type]


# ---- What runs on this machine have told
def test_runs_that_needed_more_than_was_foretold_correct_the_forecast(workspace: Workspace) -> None:
    preset = load_train_preset("grpo_online", {"settings": {"per_device_train_batch_size": 1}})
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
