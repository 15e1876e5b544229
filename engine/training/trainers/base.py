"""`DiffusionTrainer`: base class of the trainers of diffusion networks, over `transformers.Trainer`.

The loop, the optimiser, schedules, accumulation and resuming are the library's. This class adds a family's network in
place of a language model, losses in parts (each denoising step has its own backward pass, so memory stays that of one),
atomic checkpoints of the trained weights only, checks that stop a run before a NaN reaches the weights, and training on
several processes (`engine.training.distributed.process_group`).
"""

import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_utils import rotate_checkpoints

from engine.errors import ConfigError, TrainingError
from engine.families.lora import load_adapter, save_adapter, write_adapter
from engine.families.prompt_cache import PromptCache
from engine.family_interface import FamilyOptions, ModelFamily
from engine.files.atomic import replace_folder
from engine.files.manifests import write_manifest
from engine.generation.validation import check_pictures, check_storage
from engine.runs.checkpoint_series import CHECKPOINT, step_of
from engine.storage.images import load_picture
from engine.training.data.prompt_embeddings import PromptEmbeddings
from engine.training.data.prompt_rows import check_prompts, numbered, with_stored_pictures
from engine.training.distributed.checkpoint import (
    fill,
    follow_schedule,
    gather_full_weights,
    load_optimizer,
    load_weights,
    read_tensors,
    save_shards,
    shard_optimizer_state,
)
from engine.training.distributed.process_group import (
    all_reduce_means,
    any_rank,
    average_gradients,
    broadcast_parameters,
    is_distributed,
    is_first,
    local_slice,
    set_epoch,
    wait_for_all,
)
from engine.training.distributed.sharding import Sharding, check_sharded, hide_fsdp_from_accelerate, shard
from engine.training.gradient_checkpointing import set_block_checkpointing
from engine.training.network_files import compute_dtype, open_to_train, set_compute_dtype, write_network
from engine.training.reporting import add_reports, reporting_tools
from engine.training.weights import (
    ADAPTER,
    FROZEN,
    ReferencePolicy,
    WeightCopy,
    average_decay,
    base_policy,
    local,
    setup_lora,
    trainable,
)
from engine.workspace import Workspace

TRAINED_FILE = "trained.safetensors"
COPY_FILE = "trained.{}.safetensors"
"""Files of a checkpoint: the trained weights, and the run's copies of them."""
SHARDS = "shards"
"""Folder of a sharded checkpoint: weights, copies and optimiser state, one part a process."""
UNFINISHED = "unfinished"
"""Folder, next to the checkpoints, in which a checkpoint is written before it is renamed."""

log = logging.getLogger(__name__)


class DiffusionTrainer(Trainer):
    """Base trainer; a subclass implements `losses`.

    `model` is a loaded family, or the key of a model preset to load; `start` is the folder of an initial adapter.
    `workspace` holds the pictures of the data (None: $DAILIES_WORKSPACE); files are copied into it.
    `reference` is the model before training, `base` the model without any adapter but a frozen one. `is_few_step` tells
    that the model is distilled to the steps of `template`. `baseline_fields` are those of `template` in which the model
    before training is sampled differently. Rotation keeps the newest checkpoint
    up to step `last_good` for a roll-back (-1: none). Raises ConfigError for a model that can only generate, or
    unsupported settings.
    """

    def __init__(
        self,
        model: ModelFamily | str,
        args: Any,
        train_dataset: Any,
        start: Path | None = None,
        workspace: Workspace | None = None,
        **others: Any,
    ) -> None:
        check_prompts(train_dataset or ())
        workspace = workspace or Workspace.from_env()
        train_dataset = with_stored_pictures(train_dataset or (), workspace) if train_dataset else train_dataset
        self.sharding = Sharding.from_environment()
        self.template = args.template(model if isinstance(model, str) else None)
        self.family = open_to_train(model, args.lora_rank)
        check_pictures(numbered(train_dataset or ()), self.template, self.family.spec)
        network: Any = self.family.network
        options = getattr(self.family, "options", FamilyOptions())
        check_storage(options, args.lora_rank, checkpointed=args.gradient_checkpointing, sharded=bool(self.sharding))
        for name, folder in ((FROZEN, args.frozen_adapter), (ADAPTER, start)):
            if folder is not None:
                load_adapter(network, name, Path(folder), to_train=name == ADAPTER)
        continues_adapter = setup_lora(network, self.family.spec.lora_targets, **args.lora_settings())
        self._add_adapters(network, args)
        set_block_checkpointing(network, self.family.spec.block_classes, on=args.gradient_checkpointing)
        args._n_gpu = min(1, args.n_gpu)  # a process trains on one device; the library would split batches over all
        self._place(args)
        self.base = base_policy(network, args.lora_rank, with_frozen=args.frozen_adapter is not None)
        self.reference = ReferencePolicy(network, WeightCopy(network)) if continues_adapter else self.base
        self.copies: dict[str, WeightCopy] = {"average": WeightCopy(network)} if args.ema_decay > 0 else {}
        load, cache = partial(load_picture, workspace), PromptCache(workspace.prompts)
        self.prompts = PromptEmbeddings(self.family, self.template.fps, self.template.guidance, load, cache)
        self.sums: dict[str, list[float]] = defaultdict(list)
        self.micro_step, self._at, self.last_good, self.is_few_step = 0, -1, -1, False
        self.baseline_fields: dict[str, Any] = {}
        self._written_to: Path | None = None
        reports, args.report_to = reporting_tools(args.report_to), []
        with hide_fsdp_from_accelerate():
            super().__init__(model=network, args=args, train_dataset=train_dataset, data_collator=list, **others)
        self.is_distributed_loading_by_transformers = is_distributed()  # so accelerate wraps nothing
        self.model_accepts_loss_kwargs = False
        self.add_callback(_Guard(self))
        add_reports(self, reports)

    def losses(self, inputs: Any) -> Iterator[Tensor]:
        """Yield the parts of a batch's loss, each with its own graph; their sum is minimised."""
        raise NotImplementedError

    def parts(self, inputs: Any) -> Iterator[Tensor]:
        """Yield the parts of an update: `losses`, and what a base class adds to them."""
        return self.losses(inputs)

    def _add_adapters(self, network: Any, args: Any) -> None:
        """Add adapters that are trained in addition to the policy's; called before the network is placed."""

    @property
    def is_safe_stop(self) -> bool:
        """Return True when stopping after this update and resuming equals not stopping."""
        return True

    # --------------------------------------------------------------------------------------------- several processes

    def _place(self, args: Any) -> None:
        """Shard the network if the launcher requests it; otherwise broadcast the first process's weights."""
        network: Any = self.family.network
        compute = None if args.lora_rank else compute_dtype(self.family.dtype)
        set_compute_dtype(network, compute if self.sharding is None else None)
        if self.sharding is not None:
            if self.family.spec.passes_by_prompt:
                raise ConfigError(
                    f"{self.family.spec.title} takes a pass for each length of prompt in a batch, but processes with "
                    "shards must take as many: launch it with presets/accelerate/replicated_1x8.yaml."
                )
            shard(network, self.family.spec.block_classes, self.sharding, args.device, compute)
        elif is_distributed():
            broadcast_parameters([parameter for _, parameter in trainable(network.to(args.device))])

    def _move_model_to_device(self, model: nn.Module, device: torch.device) -> None:
        if not is_distributed():
            super()._move_model_to_device(model, device)

    def local_level_slice(self, count: int) -> slice:
        """Select this process's `count` noise levels of those drawn for the rows of all processes.

        They are the same for all processes where `shares_levels`.
        """
        return slice(count) if self.shares_levels else local_slice(count)

    @property
    def shares_levels(self) -> bool:
        """True where all processes need the same noise level at the same time, for the same expert."""
        return self.sharding is not None and getattr(self.family.network, "experts_by_noise_level", False)

    def _prepare_for_training(self, *args: Any, **others: Any) -> Any:
        prepared = super()._prepare_for_training(*args, **others)
        if self.sharding is not None:
            check_sharded(self.family.network)
        return prepared

    def _run_epoch(self, **loop: Any) -> None:
        """Set the epoch's number, which determines the order of its rows, also when a run resumes within it."""
        set_epoch(loop["train_dataloader"], loop["epoch"])
        super()._run_epoch(**loop)

    def _defer_fsdp_gradient_reduction(self) -> AbstractContextManager[None]:
        """Reduce gradients after every batch: unreduced ones would stay whole in memory until the update."""
        return nullcontext()

    def _sync_replicated_trainable_parameters(self, model: nn.Module) -> None:
        """Do nothing: `_place` and `training_step` synchronise parameters and gradients."""

    # ------------------------------------------------------------------------------------------------------------ steps

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Run one backward pass a part, in evaluation mode: rollout and replay must use the same arithmetic."""
        model.eval()
        self.micro_step = 0 if self.state.global_step != self._at else self.micro_step + 1
        self._at = self.state.global_step
        total = torch.zeros((), device=self.args.device)
        whole: Any = self.family.network
        self.family.network = model  # type: ignore[misc]  # compiled, where the settings ask for it
        try:
            batch = self._prepare_inputs(inputs)
            began = time.perf_counter()
            for part in self.parts(batch):
                if not part.isfinite():
                    raise TrainingError(
                        f"The loss is {float(part.detach())} at step {self.state.global_step}: nothing was updated. "
                        "Lower the learning rate, or check the rewards of this step."
                    )
                self.accelerator.backward(part / self.current_gradient_accumulation_steps)
                total += part.detach()
            if self.accelerator.sync_gradients and self.sharding is None:
                average_gradients([parameter for _, parameter in trainable(whole)])
            self.log_metric(time__update=time.perf_counter() - began)
        finally:
            self.family.network = whole  # type: ignore[misc]
        return total / self.current_gradient_accumulation_steps

    def log_metric(self, **values: float | Tensor) -> None:
        """Record metrics of this step, of which `log` writes the means; `__` in a name becomes `/`."""
        for name, value in values.items():
            number = value.detach().float().mean().item() if isinstance(value, Tensor) else value
            self.sums[name.replace("__", "/")].append(float(number))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        means = {name: sum(values) / len(values) for name, values in self.sums.items()}
        self.sums.clear()
        super().log({**logs, **all_reduce_means(means)}, start_time)

    # ------------------------------------------------------------------------------------------- checkpoints, export

    def export(self, folder: Path) -> None:
        """Write weights that Generate can load: the adapter (or its average), or the whole network.

        All processes must call it; the first one writes.
        """
        averaged = self.copies["average"].applied() if "average" in self.copies else nullcontext()
        with averaged, writing("The trained weights", folder):
            self._write(folder)

    def _write(self, folder: Path) -> None:
        network: Any = self.family.network
        whole = gather_full_weights(network) if self.sharding is not None else None
        if not is_first():
            return
        folder.mkdir(parents=True, exist_ok=True)
        if self.args.lora_rank:
            save_adapter(network, ADAPTER, folder) if whole is None else write_adapter(network, ADAPTER, folder, whole)
        else:
            own = dict(network.named_parameters()) if whole is None else whole
            write_network(network, folder, own, self.family.dtype)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._written_to or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint to a temporary folder, add a manifest, and rename the folder.

        A checkpoint is therefore complete or absent. The manifest reveals later damage before a run resumes from it.
        """
        folder, number = Path(self.args.output_dir), self.state.global_step
        aside = folder / UNFINISHED
        if is_first():
            shutil.rmtree(aside, ignore_errors=True)
        wait_for_all()
        self._written_to = aside
        try:
            with writing(f"The checkpoint of step {number}", aside):
                super()._save_checkpoint(model, trial)
        finally:
            self._written_to = None
        wait_for_all()
        if is_first():
            with writing(f"The checkpoint of step {number}", aside):
                for written in list(aside.iterdir()):
                    write_manifest(written)
                    replace_folder(written, folder / written.name)
                aside.rmdir()
            rotate_checkpoints(str(folder), self.args.save_total_limit, self._good_checkpoint(folder), use_mtime=True)
            log.info("checkpoint of step %d", number)
        wait_for_all()

    def _good_checkpoint(self, folder: Path) -> str | None:
        """Return the newest checkpoint that a roll-back would resume from; rotation must keep it."""
        steps = [step_of(path) for path in folder.glob(f"{CHECKPOINT}*")]
        good = [step for step in steps if step is not None and step <= self.last_good]
        return str(folder / f"{CHECKPOINT}{max(good)}") if good else None

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write the trained weights, without the frozen network, and an adapter that is ready for use."""
        folder = Path(output_dir or self.args.output_dir)
        if is_first() and self.sharding is None:
            folder.mkdir(parents=True, exist_ok=True)
            weights = {name: p.detach().contiguous() for name, p in trainable(self.family.network)}
            save_file(weights, folder / TRAINED_FILE)
            for name, copy in self.copies.items():
                save_file(copy.values, folder / COPY_FILE.format(name))
        if self.args.lora_rank:
            self.export(folder)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.sharding is None:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        save_shards(Path(output_dir) / SHARDS, self.family.network, self.optimizer.optimizer, self.copies)
        if is_first():
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder, network = Path(resume_from_checkpoint), self.family.network
        if (folder / SHARDS).is_dir():
            load_weights(folder / SHARDS, network, self.copies)
            return
        parameters = dict(trainable(network))
        saved = read_tensors(folder / TRAINED_FILE)
        unlike = {n for n in saved.keys() ^ parameters.keys()} | {
            n for n in saved.keys() & parameters.keys() if saved[n].shape != parameters[n].shape
        }
        if unlike:
            raise TrainingError(
                f"The checkpoint {folder} is of another model or LoRA ({len(unlike)} tensors differ, such as "
                f"'{min(unlike)}'): resume with the settings that it was made with."
            )
        fill(parameters, saved)
        for name, copy in self.copies.items():
            fill(copy.values, read_tensors(folder / COPY_FILE.format(name)))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        folder = Path(checkpoint or "")
        if checkpoint is None or (self.sharding is None and not (folder / SHARDS).is_dir()):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        optimizer = self.optimizer.optimizer
        if (folder / SHARDS).is_dir():
            load_optimizer(folder / SHARDS, self.family.network, optimizer)
        else:
            saved = torch.load(folder / OPTIMIZER_NAME, map_location="cpu", weights_only=True)
            optimizer.load_state_dict(shard_optimizer_state(saved, optimizer))
        self.lr_scheduler.load_state_dict(torch.load(folder / SCHEDULER_NAME, weights_only=True))


class _Guard(TrainerCallback):
    """Check the gradient before each update, and update the average after it."""

    def __init__(self, trainer: DiffusionTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, lr_scheduler: Any = None, **_: Any) -> None:
        follow_schedule(lr_scheduler)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        named = trainable(self._trainer.family.network)
        bad = [n for n, p in named if p.grad is not None and not local(p.grad).isfinite().all()]
        if any_rank(bool(bad)):
            where = f"{len(bad)} tensors, such as '{bad[0]}'" if bad else "in another process's shard"
            raise TrainingError(
                f"The gradient is not finite at step {state.global_step} ({where}): nothing was updated. Lower the "
                "learning rate, or train in float32."
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if "average" in self._trainer.copies and (done := args.updates_of_export(state.global_step)):
            self._trainer.copies["average"].ema_update(average_decay(done, args.ema_decay))


@contextmanager
def writing(what: str, folder: Path) -> Iterator[None]:
    """Raise TrainingError when `what` cannot be written into `folder`, and delete the incomplete folder.

    On a full disk other writers need the space. torch raises RuntimeError for a file that it cannot write completely.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise  # of the device, not of the disk
        shutil.rmtree(folder, ignore_errors=True)
        raise TrainingError(
            f"{what} cannot be written in {folder.parent} ({error}): make room there, then resume the run. What was "
            "written before is whole."
        ) from error
