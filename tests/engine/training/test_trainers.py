"""The trainers on a whole tiny model: they learn, resume bit for bit, and refuse what would spoil the weights."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

from engine.errors import ConfigError, SettingsError, TrainingError
from engine.families.lora import activate_adapter
from engine.training.preflight.checks import preflight, raise_if_blocked
from engine.training.trainer_settings import VideoAWMConfig, VideoDPOConfig, VideoGRPOConfig, VideoNFTConfig
from engine.training.trainers.awm import VideoAWMTrainer
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.nft import VideoNFTTrainer
from engine.training.trainers.online import RolloutBatch
from engine.training.weights import trainable
from rewards.clip import Clip

SHAPE: dict[str, Any] = {"num_frames": 9, "width": 32, "height": 32, "fps": 8.0, "num_steps": 3, "guidance": 1.0}
PROMPTS = ["a red circle moving left", "a blue square", "the green star", "a circle over the meadow"]
Open = Callable[[], Any]


def settings(folder: Path, **others: Any) -> dict[str, Any]:
    plain = {"output_dir": str(folder), "use_cpu": True, "logging_steps": 1, "save_steps": 2, "seed": 3, "max_steps": 2}
    return {**plain, "disable_tqdm": True, "lr_scheduler_type": "constant", **SHAPE, "lora_rank": 4, **others}


def online(folder: Path, **others: Any) -> dict[str, Any]:
    return settings(folder, per_device_train_batch_size=4, gradient_accumulation_steps=2, num_generations=4, **others)


def brightness(prompts: Sequence[str], completions: Sequence[Clip], **kwargs: Any) -> list[float | None]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


def pairs(count: int = 4) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 255, (2, count, 9, 32, 32, 3), np.uint8)
    clips[0] //= 2
    return [
        {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        for prompt, chosen, rejected in zip(PROMPTS[:count], *clips, strict=True)
    ]


def weights_of(trainer: Any) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainable(trainer.family.network)}


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def make(kind: str, model: Any, folder: Path, start: Path | None = None, **others: Any) -> Any:
    """A trainer of each algorithm with settings that suit a test."""
    if kind == "dpo":
        args = VideoDPOConfig(**settings(folder, per_device_train_batch_size=2, **others))
        return VideoDPOTrainer(model=model, ref_model=None, args=args, train_dataset=pairs(), start=start)
    if kind == "grpo":
        return VideoGRPOTrainer(model, [brightness], VideoGRPOConfig(**online(folder, **others)), PROMPTS, start=start)
    trainer, config = FORWARD[kind]
    return trainer(model, [brightness], config(**online(folder, **others)), PROMPTS)


FORWARD: dict[str, tuple[Any, Any]] = {
    "nft": (VideoNFTTrainer, VideoNFTConfig),
    "awm": (VideoAWMTrainer, VideoAWMConfig),
    "rvm": (VideoAWMTrainer, partial(VideoAWMConfig, weighting="rvm", train_levels="uniform")),
    "dgpo": (VideoAWMTrainer, partial(VideoAWMConfig, weighting="dgpo", level_share=0.7)),
}
# The two last are the trainer of "awm" with other weights of its loss, which tests/engine/algorithms tests.
KINDS = ["dpo", "grpo", "nft", "awm", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("rvm", "dgpo"))]


def test_dpo_starts_even_and_learns_its_pairs(open_tiny: Open, tmp_path: Path) -> None:
    trainer = make("dpo", open_tiny(), tmp_path, max_steps=12, learning_rate=3e-3, save_steps=100)
    trainer.train()
    assert logged(trainer, "loss")[0] == pytest.approx(math.log(2), abs=1e-4)
    assert logged(trainer, "rewards/margins")[0] == pytest.approx(0, abs=1e-6)
    assert logged(trainer, "rewards/margins")[-1] > 0.05
    assert {"rewards/chosen", "rewards/rejected", "rewards/accuracies", "grad_norm"} <= set(
        trainer.state.log_history[0]
    )


def chosen_alone() -> list[dict[str, Any]]:
    return [{name: row[name] for name in ("prompt", "chosen")} for row in pairs()]


def test_chosen_clips_alone_are_learnt(open_tiny: Open, tmp_path: Path) -> None:
    """Fine-tuning as TRL's loss type "sft": no rejected clip, no reference; the denoising error falls."""
    lively = {"max_steps": 20, "learning_rate": 2e-2, "save_steps": 100, "logging_steps": 5, "loss_type": ["sft"]}
    args = VideoDPOConfig(**settings(tmp_path, per_device_train_batch_size=2, **lively))
    trainer = VideoDPOTrainer(model=open_tiny(), args=args, train_dataset=chosen_alone())
    assert [one.level for one in preflight(trainer)] == ["ok", "ok"]
    trainer.train()
    errors = logged(trainer, "error/chosen")
    assert errors[-1] < 0.9 * errors[0]
    assert "rewards/margins" not in trainer.state.log_history[0]


def test_a_preference_with_the_chosen_clips_likelihood_is_their_weighted_sum(open_tiny: Open, tmp_path: Path) -> None:
    def first_loss(folder: str, **loss: Any) -> float:
        trainer = make("dpo", open_tiny(), tmp_path / folder, max_steps=1, **loss)
        trainer.train()
        return logged(trainer, "loss")[0]

    both = first_loss("both", loss_type=["sigmoid", "sft"], loss_weights=[0.5, 2.0])
    likelihood = first_loss("alone", loss_type=["sft"])
    assert both == pytest.approx(0.5 * math.log(2) + 2 * likelihood, rel=1e-4)


@pytest.mark.parametrize("kind", ["dpo", "grpo"])
def test_the_reference_is_what_the_run_began_with(kind: str, open_tiny: Open, tmp_path: Path) -> None:
    """Also where that is an adapter: margins and KL begin at 0, and the base is still the model without it."""
    first = make(kind, open_tiny(), tmp_path / "first", learning_rate=1e-1)
    first.train()
    second = make(kind, open_tiny(), tmp_path / "second", beta=0.2, start=tmp_path / "first" / "checkpoint-2")
    latents = torch.randn(1, 8, 2, 2, 2, generator=torch.Generator().manual_seed(0))

    def seen() -> Tensor:
        return second.family.predict(latents, torch.tensor([0.5]), second.prompts.rows(PROMPTS[:1])).detach()

    present = seen()
    with second.reference.applied():
        assert torch.equal(seen(), present)
    with second.base.applied():
        assert (seen() - present).abs().max() > 1e-4
    second.train()
    with second.reference.applied():
        assert torch.equal(seen(), present), "whatever was trained since"
    assert logged(second, "rewards/margins" if kind == "dpo" else "kl")[0] == pytest.approx(0, abs=1e-6)


def test_clips_serve_several_updates_and_a_run_stops_between_them(open_tiny: Open, tmp_path: Path) -> None:
    trainer = make("grpo", open_tiny(), tmp_path, num_iterations=2, save_steps=3, max_steps=3)
    assert trainer.updates_per_generation == 2
    [verdict] = [one for one in preflight(trainer) if one.name == "checkpoints"]
    assert verdict.level == "warning" and "Set save_steps to a multiple of 2" in verdict.sentence
    could: list[bool] = []

    class Looking(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            could.append(trainer.is_safe_stop)

    trainer.add_callback(Looking())
    trainer.train()
    assert could == [False, True, False]
    even = make("grpo", open_tiny(), tmp_path / "even", num_iterations=2, save_steps=4)
    assert [one.level for one in preflight(even) if one.name == "checkpoints"] == ["ok"]


def test_grpo_replays_its_rollouts_exactly(open_tiny: Open, tmp_path: Path) -> None:
    """The ratio before the first update is 1 to within 1e-5, also when the batch shape differs from the rollout's."""
    trainer = make("grpo", open_tiny(), tmp_path, noise_level=0.7)
    rows = [{"prompt": prompt} for prompt in PROMPTS[:2] for _ in range(4)]
    batches = trainer._generate_and_score(rows)
    assert max(trainer.replay_error(batch) for batch in batches) <= 1e-5
    one = batches[0]
    whole = RolloutBatch(index=list(range(8)), rollouts=one.rollouts, group_advantages=one.group_advantages)
    assert trainer.replay_error(whole) <= 1e-6


def test_grpo_logs_under_trls_names(open_tiny: Open, tmp_path: Path) -> None:
    trainer = make("grpo", open_tiny(), tmp_path, beta=0.01)
    trainer.train()
    entry = trainer.state.log_history[0]
    names = {"reward", "reward_std", "frac_reward_zero_std", "rewards/brightness/mean", "rewards/brightness/std"}
    assert names | {"kl", "clip_ratio", "ratio/spread", "time/rollout"} <= set(entry)
    assert logged(trainer, "kl")[0] == pytest.approx(0, abs=1e-9)
    assert logged(trainer, "ratio/spread")[0] <= 1e-5


def test_prompts_are_encoded_once(open_tiny: Open, tmp_path: Path) -> None:
    trainer = make("nft", open_tiny(), tmp_path, max_steps=3)
    trainer.train()
    assert trainer.prompts.encoded == len(PROMPTS)


# ------------------------------------------------------------------------------------------------- checkpoints, export


@pytest.mark.parametrize("kind", KINDS)
def test_trains_the_adapter_alone_and_resumed_as_uninterrupted(kind: str, open_tiny: Open, tmp_path: Path) -> None:
    stop = 2 if kind == "dpo" else 1  # dpo: after an epoch; the others: between two rollouts
    settings = {"max_steps": 2 * stop, "save_steps": stop, "ema_decay": 0.5}
    family = open_tiny()
    before = {name: parameter.detach().clone() for name, parameter in family.network.named_parameters()}
    whole = make(kind, family, tmp_path / "whole", **settings)
    whole.train()
    after = dict(family.network.named_parameters())
    assert any("lora_B" in name and parameter.abs().sum() > 0 for name, parameter in after.items())
    for name, parameter in after.items():
        assert "lora" in name or torch.equal(parameter, before[name.replace(".base_layer", "")]), name
    first = make(kind, open_tiny(), tmp_path / "cut", **settings)
    first.args.max_steps = stop
    first.train()
    second = make(kind, open_tiny(), tmp_path / "cut", **settings)
    second.train(resume_from_checkpoint=str(tmp_path / "cut" / f"checkpoint-{stop}"))
    expected, found = weights_of(whole), weights_of(second)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert all(
        torch.equal(whole.copies["average"].values[name], second.copies["average"].values[name]) for name in expected
    )


def test_a_checkpoint_is_an_adapter_that_generate_can_use(open_tiny: Open, tmp_path: Path) -> None:
    trainer = make("dpo", open_tiny(), tmp_path, learning_rate=1e-2)
    trainer.train()
    family = open_tiny()
    activate_adapter(family.network, "trained", tmp_path / "checkpoint-2")
    latents = torch.randn(1, 8, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    conditioning = trainer.prompts.rows(["a red circle"])
    level = torch.tensor([0.5])
    with torch.no_grad():
        trained, loaded = (one.predict(latents, level, conditioning) for one in (trainer.family, family))
        activate_adapter(family.network, None)
        base = family.predict(latents, level, conditioning)
    torch.testing.assert_close(loaded, trained)
    assert (trained - base).abs().max() > 1e-4
    assert sum(file.stat().st_size for file in (tmp_path / "checkpoint-2").glob("*.safetensors")) < 200_000


def test_a_checkpoint_of_another_lora_is_refused(open_tiny: Open, tmp_path: Path) -> None:
    make("dpo", open_tiny(), tmp_path).train()
    with pytest.raises(TrainingError, match="another model or LoRA"):
        make("dpo", open_tiny(), tmp_path, lora_rank=2, max_steps=4).train(
            resume_from_checkpoint=str(tmp_path / "checkpoint-2")
        )


def test_a_torn_checkpoint_is_refused(open_tiny: Open, tmp_path: Path) -> None:
    make("dpo", open_tiny(), tmp_path).train()
    file = tmp_path / "checkpoint-2" / "trained.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(TrainingError, match="cannot be read"):
        make("dpo", open_tiny(), tmp_path, max_steps=4).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


BAD: Any = [([float("nan")] + [0.5] * 7, "gave nan"), ([0.5] * 7 + [float("inf")], "gave inf"), ([0.5] * 3, "3 values")]


@pytest.mark.parametrize(("kind", "values", "message"), [("grpo", *BAD[0]), *(("nft", *case) for case in BAD)])
def test_a_bad_reward_never_reaches_the_weights(
    kind: str, values: list[float], message: str, open_tiny: Open, tmp_path: Path
) -> None:
    trainer = make(kind, open_tiny(), tmp_path)
    trainer.reward_funcs = [lambda prompts, completions, **_: values]
    before = weights_of(trainer)
    with pytest.raises(TrainingError, match=message):
        trainer.train()
    assert all(torch.equal(before[name], value) for name, value in weights_of(trainer).items())


def test_a_reward_that_never_applies_teaches_nothing(open_tiny: Open, tmp_path: Path) -> None:
    trainer = make("grpo", open_tiny(), tmp_path, weight_decay=0.0)
    trainer.reward_funcs = [lambda prompts, completions, **_: [None] * len(prompts)]
    before = weights_of(trainer)
    trainer.train()
    assert all(torch.equal(before[name], value) for name, value in weights_of(trainer).items())


def test_a_gradient_that_is_not_finite_stops_the_run(open_tiny: Open, tmp_path: Path) -> None:
    trainer = make("dpo", open_tiny(), tmp_path)
    before = weights_of(trainer)
    trainable(trainer.family.network)[0][1].register_hook(lambda grad: grad * float("nan"))
    with pytest.raises(TrainingError, match="gradient is not finite"):
        trainer.train()
    assert all(torch.equal(before[name], value) for name, value in weights_of(trainer).items())


def test_pairs_that_are_none_are_refused(open_tiny: Open, tmp_path: Path) -> None:
    family = open_tiny()
    trainer = make("dpo", family, tmp_path)
    shorter = {**pairs(1)[0], "rejected": np.zeros((17, 32, 32, 3), np.uint8)}
    for row, message in (
        (shorter, "alike in size"),
        (
            {"prompt": "a", "chosen": pairs(1)[0]["chosen"]},
            "needs prompt, chosen and rejected, but a row has only prompt, chosen",
        ),
        ({**pairs(1)[0], "chosen": tmp_path / "gone.mkv"}, "There is no clip file"),
    ):
        with pytest.raises(TrainingError, match=message):
            trainer.clip_latents.latents([row])


def test_one_algorithm_goes_on_where_another_ended(open_tiny: Open, tmp_path: Path) -> None:
    family = open_tiny()
    first = make("dpo", family, tmp_path / "dpo", learning_rate=1e-2)
    first.train()
    after_dpo = weights_of(first)
    second = make("nft", family, tmp_path / "nft")
    assert all(torch.equal(after_dpo[name], value) for name, value in weights_of(second).items())
    second.train()
    assert any(not torch.equal(after_dpo[name], value) for name, value in weights_of(second).items())
    with pytest.raises(ConfigError, match="rank 4 already"):
        make("grpo", family, tmp_path, lora_rank=8)


def test_settings_that_contradict_themselves_are_refused(open_tiny: Open, tmp_path: Path) -> None:
    family = open_tiny()
    for kind, others, message in (
        ("grpo", {"sde_form": "ddim"}, "use flow_grpo"),
        ("grpo", {"window": 9}, "does not fit"),
        ("dpo", {"loss_type": ["sigmoid", "sft", "ipo"]}, "must be one of"),
        ("dpo", {"prompt_dropout": 1.0}, "prompt_dropout"),
        ("dpo", {"error_scale": 0.0}, "above 0"),
        ("nft", {"mixing": 2.0}, "at most 1"),
        ("nft", {"lora_rank": -1}, "lora_rank"),
    ):
        with pytest.raises(ConfigError, match=message):
            make(kind, family, tmp_path, **others)
    with pytest.raises(ConfigError, match="takes 2 prompts, but there are 1"):
        VideoGRPOTrainer(
            model=family, reward_funcs=brightness, args=VideoGRPOConfig(**online(tmp_path)), train_dataset=["one"]
        )


LOOKED_AT = {
    "dpo": {"frames", "clips", "beta"},
    "nft": {"frames", "checkpoints", "rewards", "latents", "groups", "motion", "fps", "tiling"},
}
LOOKED_AT |= dict.fromkeys(("awm", "rvm", "dgpo"), LOOKED_AT["nft"])
LOOKED_AT["grpo"] = LOOKED_AT["nft"] | {"noise", "excess_noise", "replay", "clip_range"}


def verdicts(trainer: Any) -> dict[str, Any]:
    return {verdict.name: verdict for verdict in preflight(trainer)}


@pytest.mark.parametrize("kind", KINDS)
def test_preflight_lets_a_sound_run_go_and_changes_nothing(kind: str, open_tiny: Open, tmp_path: Path) -> None:
    trainer = make(kind, open_tiny(), tmp_path)
    before = weights_of(trainer)
    found = verdicts(trainer)
    assert set(found) == LOOKED_AT[kind]
    assert all(verdict.level != "stop" for verdict in found.values()), found
    raise_if_blocked(list(found.values()))
    assert all(torch.equal(before[name], value) for name, value in weights_of(trainer).items())


@pytest.mark.parametrize(
    ("reward", "name", "message"),
    [
        (lambda prompts, **_: [0.5] * len(prompts), "groups", "constant"),
        (lambda prompts, **_: [None] * len(prompts), "rewards", "No reward applies"),
    ],
)
def test_preflight_stops_a_run_that_cannot_learn(
    reward: Any, name: str, message: str, open_tiny: Open, tmp_path: Path
) -> None:
    trainer = make("grpo", open_tiny(), tmp_path)
    trainer.reward_funcs = [reward]
    assert verdicts(trainer)[name].level == "stop"
    with pytest.raises(SettingsError, match=message):  # resuming with the same settings would repeat it
        raise_if_blocked(preflight(trainer))


def test_preflight_stops_frames_that_the_family_cannot_make(open_tiny: Open, tmp_path: Path) -> None:
    found = verdicts(make("dpo", open_tiny(), tmp_path, num_frames=10))["frames"]
    assert found.level == "stop"
    assert "num_frames to 9" in found.sentence


def test_preflight_finds_a_replay_that_is_none(open_tiny: Open, tmp_path: Path) -> None:
    """Rollouts by one policy, replayed under another: what a dtype or a batch shape that differs would look like."""
    trainer = make("grpo", open_tiny(), tmp_path)
    batches = trainer.first_generation_batch()
    with torch.no_grad():
        for name, parameter in trainable(trainer.family.network):
            if "lora_B" in name:
                parameter.add_(0.05)
    trainer.first_generation_batch = lambda: batches
    assert verdicts(trainer)["replay"].level == "stop"


@pytest.mark.parametrize(("scale", "fate"), [(1e-3, "stay at log 2"), (1e9, "saturate")])
def test_preflight_warns_of_the_beta_trap(scale: float, fate: str, open_tiny: Open, tmp_path: Path) -> None:
    found = verdicts(make("dpo", open_tiny(), tmp_path, error_scale=scale))["beta"]
    assert found.level == "warning"
    assert fate in found.sentence
