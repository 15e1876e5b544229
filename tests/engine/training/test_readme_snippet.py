"""README's lines of Python for TRL's users, run as they stand there, on the tiny model."""

from pathlib import Path

import numpy as np
import pytest

from engine.config.presets import load_preset
from engine.training import trainer_settings
from engine.training.trainers import dpo, grpo
from rewards import as_reward_funcs

README = Path(__file__).parents[3] / "README.md"


def snippet() -> str:
    """The block of Python that makes trainers."""
    blocks = [block.split("```")[0] for block in README.read_text(encoding="utf-8").split("```python")[1:]]
    (found,) = [block for block in blocks if "VideoGRPOTrainer(" in block]
    return found


def test_the_lines_run(tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They train on all defaults but the model: three epochs over one pair, and over one prompt."""
    monkeypatch.chdir(tmp_path)
    shape = load_preset("models", tiny_model)
    size = (2, shape.num_frames, shape.height, shape.width, 3)
    better, worse = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    names = {
        **vars(trainer_settings), **vars(dpo), **vars(grpo), "as_reward_funcs": as_reward_funcs,
        "mix": load_preset("rewards", "tiny"), "prompts": ["a red circle moving left"],
        "pairs": [{"prompt": "a red circle moving left", "chosen": better, "rejected": worse}],
    }  # fmt: skip
    lines = snippet()
    assert lines.count('model="mini"') == 2
    exec(lines.replace('model="mini"', f'model="{tiny_model}"'), names)
    assert list(tmp_path.rglob("trainer_state.json"))
