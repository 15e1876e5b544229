"""Missing networks of rewards are told of before anything large is downloaded or loaded."""

from pathlib import Path

import pytest

from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.config.reward_availability import missing_networks, why_rewards_unavailable
from engine.errors import ConfigError, TrainingError
from engine.jobs.kinds import check_preflight
from engine.jobs.spec import PreflightConfig
from engine.runs.run import Run
from engine.training.main import Recorder, train
from engine.workspace import Workspace


@pytest.fixture(autouse=True)
def no_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("DAILIES_WEIGHTS", str(folder))
    monkeypatch.setenv("TORCH_HOME", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))


def test_the_sentence_names_all_of_them_and_one_command() -> None:
    sentence = why_rewards_unavailable(load_train_preset("grpo_online"))
    assert sentence.startswith("The mix online needs networks that are not on this machine: CLIP ViT-B/32")
    assert "(605.1 MB)" in sentence and "run `dailies weights get clip_b32" in sentence


def test_presets_for_mini_and_those_without_rewards_miss_nothing() -> None:
    for key in ("mini_grpo", "dpo_videodpo10k"):
        assert missing_networks(load_train_preset(key)) == {}


def test_the_command_line_says_so_before_it_offers_the_model(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offered: list[str] = []
    monkeypatch.setattr("engine.cli.training.train.offer_model", offered.append)
    assert main(["train", "grpo_online"]) == 2
    assert "`dailies weights get clip_b32" in capsys.readouterr().err
    assert offered == [] and not list(workspace.runs.glob("*"))


def test_a_preflight_is_refused_before_its_model_is_missed() -> None:
    with pytest.raises(ConfigError, match="dailies weights get clip_b32"):
        check_preflight(PreflightConfig(preset=load_train_preset("grpo_online")))


def test_a_training_process_stops_before_it_loads_the_model(workspace: Workspace) -> None:
    run = Run.create(workspace, load_train_preset("mini_grpo", {"mix": "online"}))
    with pytest.raises(TrainingError, match="not started. The mix online needs networks"):
        train(run, Recorder(run))
