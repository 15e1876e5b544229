"""A disk that is full while a run writes: one sentence, the last whole checkpoint stays, and the run goes on from it.

A limit on the size of files stands for the full disk: both fail in the middle of a write.
"""

import errno
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config.presets import load_train_preset
from engine.errors import TrainingError
from engine.runs.run import Run
from engine.training.exit_codes import FAILED
from engine.training.main import Recorder, out_of_memory_message, run_training
from engine.training.trainer_settings import VideoNFTConfig
from engine.training.trainers.nft import VideoNFTTrainer
from engine.workspace import Workspace


def brightness(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


def trainer_of(model: Any, folder: Path, max_steps: int) -> VideoNFTTrainer:
    args = VideoNFTConfig(
        output_dir=str(folder), use_cpu=True, disable_tqdm=True, report_to="none", max_steps=max_steps, save_steps=2,
        lora_rank=2, num_frames=9, width=32, height=32, fps=8.0, num_steps=2, per_device_train_batch_size=4,
        num_generations=4, gradient_accumulation_steps=1, logging_steps=1,
    )  # fmt: skip
    prompts = ["a red circle moving left", "a blue square"]
    return VideoNFTTrainer(model=model, reward_funcs=brightness, args=args, train_dataset=prompts)


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """No file can grow beyond `most_bytes`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_full_disk_costs_a_checkpoint_and_no_more(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    trainer_of(open_tiny(), tmp_path, 2).train()
    good = tmp_path / "checkpoint-2"
    before = content(good)
    for most_bytes in sorted({len(file) // 2 for file in before.values() if len(file) > 4096}):
        with full_disk(most_bytes), pytest.raises(TrainingError, match="checkpoint of step 4 cannot be written in .*"):
            trainer_of(open_tiny(), tmp_path, 4).train(resume_from_checkpoint=str(good))
        assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
        assert content(good) == before

    resumed = trainer_of(open_tiny(), tmp_path, 4)
    resumed.train(resume_from_checkpoint=str(good))
    assert (tmp_path / "checkpoint-4" / "trainer_state.json").is_file()
    assert [row["step"] for row in resumed.state.log_history if "loss" in row] == [1, 2, 3, 4]


def test_a_line_of_metrics_may_meet_it_first(
    preset: str, space: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "metrics.jsonl")

    run = Run.create(space, load_train_preset(preset, {"settings": {"max_steps": 2}}))
    monkeypatch.setattr(Run, "append_metrics", refuse)
    monkeypatch.setenv("DAILIES_TRACKIO", "0")
    with monkeypatch.context() as handlers:
        handlers.setattr("signal.signal", lambda *_: None)
        assert run_training(run) == FAILED
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("The system refused to read or write (metrics.jsonl): No space left on device.")


def test_so_do_the_trained_weights(open_tiny: Callable[[], Any], tmp_path: Path) -> None:
    trainer, folder = trainer_of(open_tiny(), tmp_path, 2), tmp_path / "adapter"
    with full_disk(64), pytest.raises(TrainingError, match="The trained weights cannot be written .* make room there"):
        trainer.export(folder)
    assert not folder.exists()
    trainer.export(folder)
    assert any(folder.iterdir())


def test_full_memory_is_one_sentence_with_the_forecast_and_what_to_lower(
    preset: str, space: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Hungry(Recorder):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            torch.empty(2**50)  # no machine has it: torch's own error

    run = Run.create(space, load_train_preset(preset, {"settings": {"max_steps": 2}}))
    monkeypatch.setattr("engine.training.main.Recorder", Hungry)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setenv("DAILIES_TRACKIO", "0")
    assert run_training(run) == FAILED
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("The device's memory of") and "is full at step 0: lower per_device_train_batch_size" in last


def test_full_memory_of_a_model_whose_size_is_known_says_what_was_forecast() -> None:
    told = out_of_memory_message(load_train_preset("mini_nft"), None)
    assert "GiB are forecast" in told and "while the model was loaded" in told
