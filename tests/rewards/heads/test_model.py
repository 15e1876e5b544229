"""Reward heads: the score against a hand calculation, the file, damaged files."""

from datetime import UTC, datetime

import numpy as np
import pytest
from safetensors.numpy import save_file

from rewards.errors import RewardError
from rewards.heads.model import HeadCard, RewardHead, read_card, read_head, save_head

CARD = HeadCard(
    key="likes",
    title="Likes",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    calibration="mini",
    backends={"clip": "mini"},
    rewards=("framing",),
    sizes={"rewards": 2, "frames": 1, "agreement": 1, "video": 1},
    penalties={"rewards": 1.0, "networks": 10.0},
    prompts=5,
    pairs=20,
    votes=20,
    accuracy=0.7,
    mix_accuracy=0.6,
    best_reward="framing",
    best_reward_accuracy=0.6,
    centre=1.0,
    spread=2.0,
    training_set="0" * 64,
    source="votes",
)


def head() -> RewardHead:
    scale = np.array([1.0, np.inf, 2.0, 1.0, 1.0])
    weights = np.array([[1.0, 9.0, 2.0, 0.0, -1.0], [3.0, 9.0, 2.0, 0.0, -1.0]])
    return RewardHead(card=CARD, mean=np.array([0.5, 0.0, 0.0, 0.0, 0.0]), scale=scale, weights=weights)


def embedding(**changes: list[float]) -> dict[str, np.ndarray]:
    blocks = {"rewards": [1.5, 1.0], "frames": [4.0], "agreement": [7.0], "video": [1.0], **changes}
    return {name: np.array(values) for name, values in blocks.items()}


def test_score_is_the_mean_of_the_members_and_its_spread():
    # z = (1, 0, 2, 7, 1): members 1 + 4 - 1 = 4 and 3 + 4 - 1 = 6
    score = head().score(embedding())
    assert (score.raw, score.std) == (5.0, 1.0)
    assert score.value == pytest.approx(1 / (1 + np.exp(-(5.0 - 1.0) / 2.0)))


def test_other_layout_is_refused():
    with pytest.raises(RewardError, match="trained on features"):
        head().score(embedding(video=[1.0, 2.0]))


def test_file_round_trip(tmp_path):
    save_head(tmp_path / "likes.safetensors", head())
    read = read_head(tmp_path / "likes.safetensors")
    assert read.card == CARD == read_card(tmp_path / "likes.safetensors")
    assert read.score(embedding()) == head().score(embedding())


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 100])
def test_garbage_is_refused(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(RewardError, match=r"a\.safetensors"):
        read_head(tmp_path / "a.safetensors")


def test_torn_file_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_head(path, head())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RewardError, match=r"a\.safetensors"):
        read_head(path)


def test_other_safetensors_file_is_refused(tmp_path):
    save_file({"weights": np.zeros((1, 5))}, tmp_path / "a.safetensors")
    with pytest.raises(RewardError, match="not a reward head"):
        read_head(tmp_path / "a.safetensors")


def test_arrays_of_another_size_are_refused(tmp_path):
    whole = head()
    save_head(
        tmp_path / "a.safetensors", RewardHead(card=CARD, mean=whole.mean[:3], scale=whole.scale, weights=whole.weights)
    )
    with pytest.raises(RewardError, match="do not fit"):
        read_head(tmp_path / "a.safetensors")
