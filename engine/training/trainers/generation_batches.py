"""`GenerationBatches`: base class of trainers whose batches come from generation batches.

The schedule is `trl.GRPOTrainer`'s. A generation batch holds P prompts with G = `num_generations` clips each. It is
split into `steps_per_generation` batches, used `num_iterations` times, and then replaced by the next one.
"""

import math
from collections.abc import Mapping
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader
from trl.trainer.utils import RepeatSampler

from engine.seeds import seed_for
from engine.training.trainers.clip_data import ClipLossTrainer


class EpochRepeatSampler(RepeatSampler):
    """TRL's sampler with an order derived from seed and epoch, so that a resumed run sees the same rows."""

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed(seed_for(self.seed or 0, step=epoch))


class GenerationBatches(ClipLossTrainer):
    """Base of online trainers: which rows and which update belong to which generation batch."""

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of this process's part of each generation batch, repeated for each of its steps.

        Clips of a group are consecutive, so a part may begin or end within a group.
        """
        size = self.args.per_device_train_batch_size * self.args.steps_per_generation
        loader = DataLoader(
            self.train_dataset, batch_size=size, sampler=self._sampler(), collate_fn=list, drop_last=True
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def _sampler(self) -> EpochRepeatSampler:
        args = self.args
        return EpochRepeatSampler(
            self.train_dataset,
            mini_repeat_count=args.num_generations,
            batch_size=args.generation_batch_size // args.num_generations,
            repeat_count=args.num_iterations * args.steps_per_generation,
            shuffle=args.shuffle_dataset is not False,
            seed=args.seed,
        )

    def rows_of(self, iteration: int) -> list[Mapping[str, Any]]:
        """Return the rows of all processes' generation batch `iteration`, as the loader will give them."""
        epoch, number = divmod(iteration, self._generations_per_epoch)
        sampler = self._sampler()
        sampler.set_epoch(epoch)
        size = self.args.generation_batch_size
        first = number * size * self._batches_per_generation
        return [self.train_dataset[index] for index in islice(sampler, first, first + size)]

    @property
    def _batches_per_generation(self) -> int:
        batches: int = self.args.steps_per_generation * self.args.num_iterations
        return batches

    @property
    def _generations_per_epoch(self) -> int:
        prompts = self.args.generation_batch_size // self.args.num_generations
        return max(1, len(self.train_dataset) // prompts)

    @property
    def _updates_per_epoch(self) -> int:
        """Number of updates as the library counts them: an epoch's last update may have fewer batches."""
        return math.ceil(self._generations_per_epoch * self._batches_per_generation / self._accumulation)

    @property
    def _accumulation(self) -> int:
        steps: int = self.args.gradient_accumulation_steps
        return steps

    @property
    def _position(self) -> int:
        """Index of the current batch in its epoch, from 0."""
        done = self.state.global_step % self._updates_per_epoch * self._accumulation
        return done + (self.micro_step if self._at == self.state.global_step else 0)

    @property
    def updates_per_generation(self) -> int:
        """Number of updates from one that ends together with a generation batch to the next such one.

        It spans several generation batches where gradient accumulation crosses their boundaries, and a whole epoch
        where the epoch's last update has fewer batches and so shifts the count.
        """
        updates = math.lcm(self._batches_per_generation, self._accumulation) // self._accumulation
        return updates if self._updates_per_epoch % updates == 0 else self._updates_per_epoch

    @property
    def is_safe_stop(self) -> bool:
        """Return True when the generation batch is used up: then stopping and resuming changes nothing."""
        in_epoch = self.state.global_step % self._updates_per_epoch
        return in_epoch * self._accumulation % self._batches_per_generation == 0

    @property
    def iteration(self) -> int:
        """Number of generation batches made before this one."""
        epochs = self.state.global_step // self._updates_per_epoch
        return epochs * self._generations_per_epoch + self._position // self._batches_per_generation

    def begin_of(self, iteration: int) -> tuple[int, int]:
        """Return the update with which generation batch `iteration` begins, and the batch of that update."""
        epoch, number = divmod(iteration, self._generations_per_epoch)
        update, batch = divmod(number * self._batches_per_generation, self._accumulation)
        return epoch * self._updates_per_epoch + update, batch
