"""Settings that cannot work, or would have no effect, are refused before any model is loaded; each in one sentence."""

from pathlib import Path
from typing import Any

import pytest

from engine.config.presets import load_preset, load_train_preset
from engine.errors import ConfigError, SettingsError
from engine.runs.run import Run
from engine.training.build import build_config, build_trainer
from engine.training.prompt_settings import VideoDistillConfig
from engine.training.trainer_settings import (
    VideoAWMConfig,
    VideoDPOConfig,
    VideoGRPOConfig,
    VideoNFTConfig,
)
from engine.workspace import Workspace

CONFIGS = {
    "dpo": VideoDPOConfig,
    "grpo": VideoGRPOConfig,
    "nft": VideoNFTConfig,
    "awm": VideoAWMConfig,
    "distill": VideoDistillConfig,
}


def built(kind: str, folder: Path, **settings: Any) -> Any:
    return build_config(CONFIGS[kind], settings, folder)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("grpo", {"sde_form": "nope"}, "sde_form = 'nope' is no choice. Known: cps, dance, ddim, flow_grpo"),
        ("nft", {"advantage_scale": "bogus"}, "advantage_scale = 'bogus' is no choice"),
        ("distill", {"target": "trajectori"}, "Did you mean 'trajectory'"),
        ("grpo", {"rollout_batch": 0}, "rollout_batch must be 1 or more, but got 0"),
        ("distill", {"rollout_batch": 0}, "rollout_batch must be 1 or more, but got 0"),
        ("nft", {"advantage_limit": 0}, "advantage_limit must be above 0"),
        ("awm", {"epsilon": 0.0}, "epsilon and preference_beta must be above 0"),
        ("awm", {"moving_decay_most": 1.0}, "moving_decay_most"),
        (
            "awm",
            {"weighting": "dgpo", "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
            "whole groups: per_device.*4. must be a multiple of.*8",
        ),
        ("awm", {"preference_beta": 0.0}, "preference_beta must be above 0"),
        ("nft", {"level_share": 1.5}, "level_share above 0 and at most 1, but got 2 and 1.5"),
        ("grpo", {"advantage_floor": -1.0}, "advantage_floor 0 or more"),
        ("grpo", {"multi_objective_aggregation": "mean"}, "normalize_then_sum, but got 'mean'"),
        ("dpo", {"label_smoothing": 0.9}, "within 0 and 0.5.*0.9"),
        ("dpo", {"label_smoothing": 0.1, "loss_type": ["ipo"]}, "no effect with loss_type ipo"),
        ("dpo", {"label_smoothing": 0.1, "loss_type": ["sft"]}, "no effect with loss_type sft"),
        ("dpo", {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, -1.0]}, "loss_weights must be 0 or more.*-1"),
        ("dpo", {"prompt_dropout": 0.1, "loss_type": ["sigmoid", "sft"]}, "no effect with the preference"),
        ("grpo", {"scale_rewards": "loud"}, "scale_rewards must be group, batch or none"),
        ("grpo", {"scale_rewards": "none", "advantage_scale": "group"}, "contradict each other"),
        ("nft", {"sync_ref_model": True}, "sync_ref_model = True would have no effect"),
        ("grpo", {"importance_sampling_level": "sequence"}, "would have no effect"),
        ("grpo", {"delta": 2.0}, "would have no effect"),
        ("dpo", {"f_divergence_type": "js_divergence"}, "would have no effect"),
        ("nft", {"epsilon": 0.1}, "epsilon = 0.1 would have no effect here, since NFT has no ratio: leave it out"),
        ("awm", {"epsilon_high": 0.3}, "would have no effect"),
        ("awm", {"epsilon": 0.1, "weighting": "rvm"}, "no effect here, since weighting is 'rvm'"),
        ("awm", {"preference_beta": 10.0}, "no effect here, since weighting is 'awm'"),
        ("awm", {"moving_decay_most": 0.5, "moving_beta": 0.0}, "no effect here, since moving_beta is 0"),
        ("nft", {"data_weight": 0.1}, "no effect here, since there is no data"),
        ("grpo", {"skip_damaged": True}, "no effect here, since there is no data"),
        ("grpo", {"window_every": 5, "step_choice": "random", "window": 1}, "no effect here, since step_choice"),
        ("dpo", {"frozen_scale": 0.5}, "no effect here, since there is no frozen_adapter"),
        ("dpo", {"precompute_ref_log_probs": True}, "would have no effect"),
        ("grpo", {"dataloader_num_workers": 2}, "no effect here, since clips are made and not loaded"),
        ("distill", {"dataloader_num_workers": 2}, "no effect here, since clips are made and not loaded"),
    ],
)
def test_what_cannot_work_is_refused(kind: str, settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        built(kind, tmp_path, **settings)


@pytest.mark.parametrize("kind", CONFIGS)
def test_defaults_pass(kind: str, tmp_path: Path) -> None:
    assert built(kind, tmp_path).gradient_checkpointing is False


@pytest.mark.parametrize("name", ["gradient_checkpointing", "activation_checkpointing"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_both_names_of_checkpointing_set_ours_and_not_the_librarys(kind: str, name: str, tmp_path: Path) -> None:
    args = built(kind, tmp_path, **{name: True})
    assert args.gradient_checkpointing is True and args.activation_checkpointing is False


def test_what_trls_defaults_say_may_be_said(tmp_path: Path) -> None:
    said = {"scale_rewards": "group", "importance_sampling_level": "token", "sync_ref_model": False, "delta": None}
    assert built("grpo", tmp_path, **said).advantage_scale == "max_group"
    built("dpo", tmp_path, f_divergence_type="reverse_kl", precompute_ref_log_probs=False, label_smoothing=0.1)
    built("dpo", tmp_path, loss_type=["sft"], prompt_dropout=0.1)


@pytest.mark.parametrize(("said", "scale"), [("batch", "batch"), ("none", "none"), (False, "none")])
def test_trls_scale_of_rewards_is_followed(said: Any, scale: str, tmp_path: Path) -> None:
    assert built("grpo", tmp_path, scale_rewards=said).advantage_scale == scale


@pytest.mark.parametrize("kind", ["nft", "awm"])
def test_a_models_own_guidance_is_refused_where_training_has_none(kind: str, tmp_path: Path) -> None:
    args = built(kind, tmp_path, guidance=None)
    with pytest.raises(ConfigError, match="guidance is 5, but this algorithm trains without guidance"):
        args.template("wan21_1_3b")
    with pytest.raises(ConfigError, match="guidance is 3"):
        built(kind, tmp_path, guidance=3.0).template("wan21_1_3b")
    assert built(kind, tmp_path).template("wan21_1_3b").guidance == 1


@pytest.mark.parametrize("kind", ["nft", "awm"])
def test_guidance_that_the_network_takes_as_an_input_is_the_models_own(kind: str, tmp_path: Path) -> None:
    args = built(kind, tmp_path)
    assert args.template("hunyuanvideo").guidance == load_preset("models", "hunyuanvideo").guidance > 1
    assert args.sampled_with()["guidance"] is None
    assert built(kind, tmp_path, guidance=4.0).template("hunyuanvideo").guidance == 4


def test_weights_of_rewards_are_the_mixs(workspace: Workspace) -> None:
    preset = load_train_preset("mini_nft", {"settings": {"reward_weights": [1.0]}})
    with pytest.raises(SettingsError, match="reward_weights are those of the mix: leave the setting out"):
        build_trainer(preset, Run.create(workspace, preset))
