"""`VideoTrainer`: what the trainers of diffusion networks share, over `transformers.Trainer`.

The loop, the optimiser, schedules, accumulation, checkpoints and resuming are the library's. Ours are: the network of a
family in place of a language model, losses that come in parts (each denoising step is its own backward pass, so memory
stays that of one), checkpoints of the trained weights alone, and guards that stop a run before a NaN reaches them.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from engine.config.presets import load_preset
from engine.errors import ConfigError, TrainingError
from engine.families import open_model
from engine.families.adapters import load_adapter, save_adapter
from engine.families.base import ModelFamily
from engine.generation.request import GenerationRequest
from engine.training.config import VideoArguments
from engine.training.prompts import EncodedPrompts
from engine.training.weights import ADAPTER, Reference, Snapshot, make_trainable, trainable

TRAINED_FILE = "trained.safetensors"
COPY_FILE = "trained.{}.safetensors"
"""In a checkpoint: the weights that train, as they are, and the copies of them that the run keeps."""

log = logging.getLogger(__name__)


class VideoTrainer(Trainer):
    """The shared part; a subclass gives `losses`.

    `model` is a loaded family, or the key of a model preset, which is then loaded; `start` is the folder of an adapter
    to begin with. Raises ConfigError for a model that
    is for generating only, or settings that it cannot do.
    """

    def __init__(
        self, model: ModelFamily | str, args: Any, train_dataset: Any, start: Path | None = None, **others: Any
    ) -> None:
        self.template = _template(model, args)
        self.family = open_model(load_preset("models", model)) if isinstance(model, str) else model
        network: Any = self.family.network
        targets = self.family.spec.lora_targets
        if start is not None:
            load_adapter(network, ADAPTER, start)
        make_trainable(network, targets, rank=args.lora_rank, alpha=args.lora_alpha, seed=args.seed)
        if args.checkpoint_blocks:
            network.enable_gradient_checkpointing()
        self.reference = Reference(network, args.lora_rank)
        self.copies: dict[str, Snapshot] = {"average": Snapshot(network)} if args.ema_decay > 0 else {}
        self.prompts = EncodedPrompts(self.family, self.template.fps)
        self.sums: dict[str, list[float]] = defaultdict(list)
        self.micro_step, self._at = 0, -1
        super().__init__(model=network, args=args, train_dataset=train_dataset, data_collator=list, **others)
        self.model_accepts_loss_kwargs = False
        self.add_callback(_Guard(self))

    def losses(self, inputs: Any) -> Iterator[Tensor]:
        """Parts of the loss of one batch, each with its own graph; their sum is what is minimised."""
        raise NotImplementedError

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """One backward pass a part. The network stays in evaluation mode: rollout and replay must be alike."""
        model.eval()
        self.micro_step = 0 if self.state.global_step != self._at else self.micro_step + 1
        self._at = self.state.global_step
        total = torch.zeros((), device=self.args.device)
        whole: Any = self.family.network
        self.family.network = model  # type: ignore[misc]  # wrapped for several processes, so that gradients are shared
        try:
            batch = self._prepare_inputs(inputs)
            began = time.perf_counter()
            for part in self.losses(batch):
                if not part.isfinite():
                    raise TrainingError(
                        f"The loss is {float(part)} at step {self.state.global_step}: nothing was updated. Lower the "
                        "learning rate, or look at the rewards of this step."
                    )
                self.accelerator.backward(part / self.current_gradient_accumulation_steps)
                total += part.detach()
            self.note(time__update=time.perf_counter() - began)
        finally:
            self.family.network = whole  # type: ignore[misc]
        return total / self.current_gradient_accumulation_steps

    def note(self, **values: float | Tensor) -> None:
        """Metrics of this step; what is logged is their mean since the last log."""
        for name, value in values.items():
            number = value.detach().float().mean().item() if isinstance(value, Tensor) else value
            self.sums[name.replace("__", "/")].append(float(number))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        means = {name: sum(values) / len(values) for name, values in self.sums.items()}
        self.sums.clear()
        super().log({**logs, **means}, start_time)

    def export(self, folder: Path) -> None:
        """Write what Generate can use: the adapter (its average, if there is one), or the whole network."""
        folder.mkdir(parents=True, exist_ok=True)
        with self.copies["average"].in_place() if "average" in self.copies else nullcontext():
            self._write(folder)

    def _write(self, folder: Path) -> None:
        if self.args.lora_rank:
            save_adapter(self.family.network, ADAPTER, folder)
        else:
            self.family.network.save_pretrained(folder)  # type: ignore[operator]

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """A checkpoint holds the trained weights, not the frozen network; the adapter beside them is ready for use."""
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: p.detach().contiguous() for name, p in trainable(self.family.network)}, folder / TRAINED_FILE)
        for name, copy in self.copies.items():
            save_file(copy.values, folder / COPY_FILE.format(name))
        if self.args.lora_rank:
            self.export(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        parameters = dict(trainable(self.family.network))
        saved = _read(folder / TRAINED_FILE)
        unlike = {n for n in saved.keys() ^ parameters.keys()} | {
            n for n in saved.keys() & parameters.keys() if saved[n].shape != parameters[n].shape
        }
        if unlike:
            raise TrainingError(
                f"The checkpoint {folder} is of another model or LoRA ({len(unlike)} tensors differ, such as "
                f"'{min(unlike)}'): resume with the settings that it was made with."
            )
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(saved[name])
        for name, copy in self.copies.items():
            copy.values.update(_read(folder / COPY_FILE.format(name)))


class _Guard(TrainerCallback):
    """Looks at the gradient before each update, and carries the average along after it."""

    def __init__(self, trainer: VideoTrainer) -> None:
        self._trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        bad = [
            n for n, p in trainable(self._trainer.family.network) if p.grad is not None and not p.grad.isfinite().all()
        ]
        if bad:
            raise TrainingError(
                f"The gradient is not finite at step {state.global_step} ({len(bad)} tensors, such as '{bad[0]}'): "
                "nothing was updated. Lower the learning rate, or train in float32."
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if "average" in self._trainer.copies:
            self._trainer.copies["average"].blend(args.ema_decay)


def _template(model: ModelFamily | str, args: VideoArguments) -> GenerationRequest:
    """The request that every clip of the run is a copy of, but for prompt and seed."""
    defaults: dict[str, Any] = {}
    if isinstance(model, str):
        preset = load_preset("models", model)
        if preset.distilled:
            raise ConfigError(f"'{model}' is a distilled model, made for a few steps: train the model it came from.")
        defaults = preset.defaults()
    return GenerationRequest(**{"prompt": "-", **defaults, **args.request_fields()})


def _read(file: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"The checkpoint's file {file} cannot be read ({error}): resume from an older one."
        ) from error
    return tensors
