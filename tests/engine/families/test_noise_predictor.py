"""Training steps on a family that predicts noise: most trainer tests run on one that predicts a flow."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine.training.config import VideoDPOConfig
from engine.training.dpo_trainer import VideoDPOTrainer


@pytest.mark.parametrize("tiny", ["animatediff"], indirect=True)
def test_dpo_takes_a_step_with_its_blocks_recomputed(tiny: SimpleNamespace, tmp_path: Path) -> None:
    """Its levels are drawn from the whole noise table, though "leading" steps with an offset point past its end."""
    assert tiny.pipeline.scheduler.config.timestep_spacing == "leading"
    request = tiny.model.request
    shape = (request.num_frames, request.height, request.width, 3)
    clips = np.random.default_rng(0).integers(0, 255, (2, 2, *shape), np.uint8)
    rows = [{"prompt": "a red circle", "chosen": one, "rejected": other} for one, other in zip(*clips, strict=True)]
    losses = []
    for on in (False, True):
        args = VideoDPOConfig(
            output_dir=str(tmp_path / str(on)),
            use_cpu=True,
            disable_tqdm=True,
            logging_steps=1,
            max_steps=2,
            save_strategy="no",
            lr_scheduler_type="constant",
            per_device_train_batch_size=2,
            learning_rate=1e-2,
            lora_rank=2,
            num_frames=request.num_frames,
            checkpoint_blocks=on,
        )
        trainer = VideoDPOTrainer(model=tiny.open(), args=args, train_dataset=rows)
        trainer.train()
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5) and len(losses[0]) == 2
    assert losses[0][0] == pytest.approx(np.log(2), abs=1e-4) != losses[0][1]
