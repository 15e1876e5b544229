"""Private methods of `transformers.Trainer` that the trainers override: each exists, and the trainer still calls it."""

import inspect
import re

import pytest
from transformers import Trainer

from engine.training.trainers.base import DiffusionTrainer
from engine.training.trainers.distill import VideoDistillTrainer
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.nft import VideoNFTTrainer
from engine.training.trainers.online import OnlineTrainer

OVERRIDDEN = {
    "_defer_fsdp_gradient_reduction",
    "_get_output_dir",
    "_load_from_checkpoint",
    "_load_optimizer_and_scheduler",
    "_move_model_to_device",
    "_prepare_for_training",
    "_prepare_inputs",
    "_run_epoch",
    "_save",
    "_save_checkpoint",
    "_save_optimizer_and_scheduler",
    "_sync_replicated_trainable_parameters",
}
TRAINERS = (DiffusionTrainer, OnlineTrainer, VideoDPOTrainer, VideoGRPOTrainer, VideoNFTTrainer, VideoDistillTrainer)


@pytest.mark.parametrize("name", sorted(OVERRIDDEN))
def test_the_library_has_and_calls_the_method(name: str) -> None:
    """An upgrade that drops or renames one would leave our version uncalled: raise the bound in pyproject.toml then."""
    assert callable(getattr(Trainer, name, None)), f"transformers.Trainer has no {name}"
    source = inspect.getsource(inspect.getmodule(Trainer))  # type: ignore[arg-type]
    assert re.search(rf"\bself\.{name}\b", source), f"transformers.Trainer no longer calls {name}"


def test_no_other_private_method_is_overridden() -> None:
    private = {
        name
        for trainer in TRAINERS
        for name in vars(trainer)
        if name.startswith("_") and not name.startswith("__") and hasattr(Trainer, name)
    }
    assert private == OVERRIDDEN


@pytest.mark.parametrize("library", ["transformers", "accelerate", "peft", "trl"])
def test_libraries_with_overridden_methods_have_an_upper_bound(library: str, root: object) -> None:
    text = (root / "pyproject.toml").read_text()  # type: ignore[operator]
    assert re.search(rf'"{library}>=[\d.]+,<[\d.]+"', text), f"{library} has no upper bound in pyproject.toml"
