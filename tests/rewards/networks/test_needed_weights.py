"""The weights that a mix needs."""

from pathlib import Path

import pytest

from engine.config.presets import load_preset, preset_keys
from rewards.mix import Mix
from rewards.registry import PIECES
from rewards.weights.catalog import WEIGHTS
from rewards.weights.needed import NETWORKS, missing_weights, needed_weights


def test_every_network_of_the_catalog_is_needed_by_the_rewards_that_it_names() -> None:
    listed = {(reward, key) for reward, (_, _, ways) in NETWORKS.items() for keys in ways.values() for key in keys}
    assert listed == {(reward, key) for key, weights in WEIGHTS.items() for reward in weights.used_by}


def test_pieces_are_those_of_the_registry() -> None:
    assert {piece for piece, _, _ in NETWORKS.values()} <= set(PIECES)


def test_only_rewards_with_a_weight_and_their_back_ends_count() -> None:
    mix = Mix(key="m", title="", weights={"clip_vid": 1.0, "t_lpips": 0.0, "seam": 1.0}, calibration="real")
    assert list(needed_weights(mix)) == ["clip_b32"]
    other = mix.model_copy(update={"backends": {"clip": "ViT-L-14", "flow": "raft_small"}})
    assert list(needed_weights(other)) == ["clip_l14", "raft_small"]


def test_the_shipped_mix_for_real_models_needs_three_networks() -> None:
    assert set(needed_weights(load_preset("rewards", "online"))) == {"clip_b32", "mtcnn", "facenet"}


def test_what_is_in_no_folder_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    online = load_preset("rewards", "online")
    assert "clip_b32" in missing_weights(online)
    (tmp_path / "open_clip_vit_b_32.safetensors").write_bytes(b"here")
    assert "clip_b32" not in missing_weights(online)


@pytest.mark.parametrize("key", [key for key in preset_keys("rewards") if key.startswith("mini")])
def test_mixes_for_mini_miss_nothing(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    assert not missing_weights(load_preset("rewards", key))
